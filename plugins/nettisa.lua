--- NetTiSA flows: the features of a flow's packets as one time series, as ipfixprobe exports them.
--
-- The plugin nettisa_features, with flows cut as the authors of NetTiSA cut theirs: after 300 s, or 65 s without a
-- packet. Times are microseconds. Applications are not looked for; --n-dissections=20 adds them.
--
-- @usage nfengine flows --profile nettisa samples/tls.pcap \
--     --columns=dst_port,udps.nettisa_mean,udps.nettisa_mean_difftimes
-- @output
-- dst_port,udps.nettisa_mean,udps.nettisa_mean_difftimes
-- ...

local nf = require "nfengine"

return nf.profile {
  name        = "nettisa",
  version     = "1.0.0",
  api         = 1,
  description = "NetTiSA flows: features of a flow's packets as one time series",
  author      = "the nfengine authors",
  license     = "MIT",
  categories  = { "profile", "compat", "safe" },
  plugins     = { "nettisa_features" },
  parameters  = { active_timeout = 300, idle_timeout = 65, time_unit = "us", n_dissections = 0 },
}
