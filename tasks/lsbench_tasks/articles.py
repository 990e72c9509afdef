"""Articles and their summaries, as the tasks about them ask and score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lsbench_tasks.texts import Scores, text_scores

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES = 64
"""Training articles that few-shot examples are taken from: lm-eval would copy the whole split otherwise."""
BEGINNING = 100
"""Words of an article that language modelling goes on from, as in LayerSkip's benchmark."""
_SEED = 42

Document = Mapping[str, str]
"""An ``article`` and its ``summary``."""


def as_documents(splits: Mapping[str, Dataset], article: str, summary: str) -> dict[str, Dataset]:
    """``test``, and ``train`` cut to a few articles in a fixed random order, with columns of one name.

    Args:
        splits: both, with other names for these columns.
        article: that of the text.
        summary: that of its summary.
    """
    train = splits["train"].shuffle(seed=_SEED)
    chosen = {"test": splits["test"], "train": train.select(range(min(EXAMPLES, len(train))))}
    names = {article: "article", summary: "summary"}
    return {
        split: documents.rename_columns({old: new for old, new in names.items() if old != new})
        for split, documents in chosen.items()
    }


def summary_line(doc: Document) -> str:
    """The reference summary on one line; CNN/DailyMail has each of its sentences on its own."""
    return " ".join(doc["summary"].split())


def beginning(doc: Document) -> str:
    """The first words of an article, white space made single."""
    return " ".join(doc["article"].split()[:BEGINNING])


def rest(doc: Document) -> str:
    """What comes after them, to the end."""
    return " ".join(doc["article"].split()[BEGINNING:])


def summary_scores(doc: Document, results: Sequence[Sequence[str]]) -> Scores:
    """Generated summaries against the reference (lm-eval's ``process_results``)."""
    (outputs,) = results
    return text_scores([summary_line(doc)], outputs)


def rest_scores(doc: Document, results: Sequence[Sequence[str]]) -> Scores:
    """Generated continuations against how the article goes on; no scores where it does not."""
    (outputs,) = results
    return text_scores([rest(doc)] if rest(doc) else [], outputs)
