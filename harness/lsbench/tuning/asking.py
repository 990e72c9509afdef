"""Proposals, as Ray Tune's searcher. It is imported with Ray Tune alone."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from lsbench.tuning.proposals import Proposals
from lsbench.tuning.searchers import OBJECTIVE
from lsbench.tuning.trainable import NUMBER


class Asking(Searcher):
    """Ray Tune asks it what to try, and is handed the number of a proposal.

    What came of it is told by who tried it: a search goes by that, whatever becomes of Tune's own processes.
    """

    def __init__(self, proposals: Proposals) -> None:
        super().__init__(metric=OBJECTIVE, mode="max")
        self._proposals: Proposals | None = proposals

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """It knows all that already."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The number of the next proposal, or the end."""
        assert self._proposals is not None  # only a copy in Tune's files has none
        proposal = self._proposals.next()
        return Searcher.FINISHED if proposal is None else {NUMBER: proposal.number}  # type: ignore[return-value]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: see above."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is known stands in trials.jsonl."""
        with open(checkpoint_path, "wb"):
            pass

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """For Tune's own files, from which nothing is read again."""
        return {**self.__dict__, "_proposals": None}
