"""``python -m lsbench``."""

import sys

from lsbench.cli import main

sys.exit(main())
