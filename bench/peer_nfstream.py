"""NFStream at the same work: python peer_nfstream.py features|defaults CAPTURE CSV

Prints how many flows it wrote. One meter, so that CPU times compare.
"""

import sys

from nfstream import NFStreamer

MODES = {
    "features": {"n_dissections": 0, "statistical_analysis": True, "splt_analysis": 20},
    "defaults": {},
}

if __name__ == "__main__":
    mode, capture, csv = sys.argv[1:]
    flows = NFStreamer(source=capture, n_meters=1, **MODES[mode]).to_csv(csv)
    print(flows, "flows")
