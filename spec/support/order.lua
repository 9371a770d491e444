-- The layers of core/: a file may include only headers of earlier ones, and its own. `make lint` checks that, and
-- docs/internals.md shows them.
return {
  { "nf_abi" }, { "base" },
  { "blob", "bytes", "clock", "collector", "counters", "filter", "frame", "hash", "interrupt", "key", "limits",
    "place", "privileges", "shortest", "thread", "warnings" },
  { "crypto", "format", "table", "features", "decode_parts", "decode", "stream" },
  { "flow", "fragments", "capfile", "cell", "device", "dpi_cache", "dpi_text", "output",
    "sockets", "sockets_parts", "values", "vector" },
  { "files", "dpi", "mask", "merge", "writer" }, { "columnar", "rows" }, { "source" }, { "intake" }, { "meter" },
  { "handout" }, { "crew" }, { "script" }, { "main" },
}
