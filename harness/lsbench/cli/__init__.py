"""The command line: each command parses, calls, prints, and decides nothing."""

from lsbench.cli.entry import main

__all__ = ["main"]
