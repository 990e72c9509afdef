"""``python tests/benchmarks/peers``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A folder that is run is itself put on the path, and its files would hide packages of the same names.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

    from benchmarks.peers.command import main

    main()
