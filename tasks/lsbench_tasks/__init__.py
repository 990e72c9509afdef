"""lm-eval tasks of ours: their YAML, data and metrics. Imports nothing of lsbench.

Point lm-eval's ``TaskManager(include_path=...)`` at ``PATH``; tasks of ours then take precedence over
built-in ones of the same name.
"""

from pathlib import Path

PATH = Path(__file__).parent
"""The folder that holds every task's YAML."""

DATA = {
    "cnn_dm_lm": "hub, or LSBENCH_CNN_DM",
    "cnn_dm_summarization": "hub, or LSBENCH_CNN_DM",
    "humaneval": "package index, once",
    "humaneval_bpb": "package index, once",
    "jsonl": "your own file, --data",
    "mbpp": "hub, or LSBENCH_MBPP",
    "xsum_summarization": "hub, or LSBENCH_XSUM",
}
"""Every task defined below ``PATH``, and where its documents come from: the variables name a local copy (see
``lsbench_tasks.splits``)."""

NAMES = tuple(DATA)
"""So that a name can be checked without loading lm-eval."""

OFFLINE = tuple(name for name, source in DATA.items() if not source.startswith("hub"))
"""Those that need no hub."""
