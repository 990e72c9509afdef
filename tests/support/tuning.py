"""Whole searches of a tiny model, and strategies that fail as they are told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsbench.tuning.trials import TRIALS, Trial, TrialsFile

TASK = """
custom_dataset: !function many.documents
test_split: test
output_type: generate_until
doc_to_text: "Question: what is {{thing}}? Answer:"
doc_to_target: thing
generation_kwargs: {until: ["zz"], max_gen_toks: 10, do_sample: false}
process_results: !function many.letters
metric_list:
  - {metric: letters, aggregation: mean, higher_is_better: true}
metadata: {version: 1}
"""
DATA = """
from datasets import Dataset

def documents(**_):
    return {"test": Dataset.from_list([{"thing": f"thing {n}"} for n in range(13)])}

def letters(_, outputs):
    return {"letters": sum(map(str.isalpha, outputs[0])) / max(1, len(outputs[0]))}
"""
FAILING = '''
import os, signal, time
from typing import Literal
from lsbench.engine import ConstantPolicy, DepthPlan
from lsbench.strategy import BadInput, Choice, IntRange, Strategy, StrategyOptions, option

class FailingOptions(StrategyOptions):
    fault: Literal["none", "raise", "kill", "hang", "refuse"] = option(
        "none", help="what happens", search=Choice(("none", "raise", "kill", "hang", "refuse")))
    exit_layer: int = option(2, help="where tokens stop", search=IntRange(2, 3))

class Failing(Strategy):
    """Stops early, in more than one sense."""
    Options = FailingOptions

    def prepare(self, preparation):
        if self.options.fault == "refuse":
            raise ValueError("no such thing")
        self.plan = DepthPlan.exit_at(preparation.num_layers, self.options.exit_layer)

    def policy(self, request):
        return ConstantPolicy(self.plan)

    def generate(self, session, request):
        for place, emitted in enumerate(super().generate(session, request)):
            if place == 2:
                self.fail()
            yield emitted

    def fail(self):
        fault = self.options.fault
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "hang":
            time.sleep(1000)
        if fault == "raise":
            raise RuntimeError("CUDA out of memory")
'''


def write_task(folder: Path) -> None:
    """A task of enough documents to be divided."""
    (folder / "many.py").write_text(DATA)
    (folder / "tiny_many.yaml").write_text(f"task: tiny_many\n{TASK}")


def write_failing(folder: Path) -> None:
    """The strategy as a third party's package."""
    (folder / "failing_strategy.py").write_text(FAILING)
    metadata = folder / "failing_strategy-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: failing-strategy\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[lsbench.strategies]\nfailing = failing_strategy:Failing\n")


def trials_in(folder: Path) -> list[Trial]:
    """As they are written."""
    return list(TrialsFile(folder / TRIALS).read().trials)


class Watched:
    """Takes whatever a search says, and keeps its trials.

    Args:
        stop_after: raises ``KeyboardInterrupt`` once so many trials are finished.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.trials: list[Trial] = []
        self._left = stop_after

    def trial_done(self, trial: Trial) -> None:
        self.trials.append(trial)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        if name not in (
            "stage",
            "update",
            "note",
            "replica",
            "begin",
            "phase",
            "trial_started",
            "best",
            "finished",
        ):
            raise AttributeError(name)
        return lambda *_, **__: None
