"""lm-eval tasks that need no hub: their YAML, data and metrics. Imports nothing of lsbench.

Point lm-eval's ``TaskManager(include_path=...)`` at ``PATH``; tasks of ours then take precedence over
built-in ones of the same name.
"""

from pathlib import Path

PATH = Path(__file__).parent
"""The folder that holds every task's YAML."""

NAMES = ("humaneval", "humaneval_bpb")
"""Every task defined below ``PATH``, so that a name can be checked without loading lm-eval."""
