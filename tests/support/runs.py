"""Whole runs in this process, with nothing shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lsbench import pipeline
from lsbench.report.live import LiveView
from lsbench.spec import RunSpec
from lsbench.store.run_folder import RunFolder

TASKS = ("tiny_generate", "tiny_stop", "tiny_choice", "tiny_target", "tiny_rolling")
STRATEGIES = ("static_exit:exit_layer=4", "static_exit:exit_layer=2", "dynamic_skip")
"""Of the run that is looked at from many sides."""


def go(spec: RunSpec, resume: RunFolder | None = None) -> pipeline.RunOutcome:
    """A run, or the rest of one."""
    return pipeline.run(spec, LiveView(quiet=True), resume)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The samples of a run as they are written."""
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
