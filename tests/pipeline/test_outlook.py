"""A run tells of strategies that have nothing to hope for, before it times them."""

import pytest

from lsbench import pipeline
from lsbench.execution import costs
from lsbench.report.live import LiveView
from support.runs import lines_of

HOPELESS = "self_speculative:draft=static_exit,draft.exit_layer=1,num_speculations=2"


class Heard(LiveView):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def start(self, total_requests: int, done_already: int = 0) -> None:
        self.said.append("begins")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_hopeless_strategies_are_told_before_the_first_request(spec_for, monkeypatch):
    monkeypatch.setattr(costs, "_BUDGET_S", 0.05)
    view = Heard()
    strategies = ("static_exit:exit_layer=1", "static_exit:exit_layer=4", HOPELESS)
    outcome = pipeline.run(spec_for(*strategies, tasks=("tiny_stop",), limit=1), view)
    before = view.said[: view.said.index("begins")]
    notes = outcome.folder.manifest.notes
    (early,) = (note for note in notes if note.startswith("static_exit:exit_layer=1: "))
    assert "at layer 1 the model predicts its own final token " in early
    (drafts,) = (note for note in notes if note.startswith("self_speculative:"))
    assert "early-exit drafts cannot pay here" in drafts
    assert {early, drafts} <= set(before)
    assert {early, drafts} <= set(outcome.metrics.notes)
    assert not any(note.startswith("static_exit:exit_layer=4: at") for note in notes)
    assert all(line["error"] is None for line in lines_of(outcome.folder.path))
