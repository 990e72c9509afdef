"""Texts to calibrate on: never those that are evaluated."""

import json
import re

import pytest

from lsbench.strategy.calibration import CALIBRATION_TEXTS

SHARED_WORDS = 8
"""So many words in a row in common would be a quotation."""


def runs(text: str) -> set[tuple[str, ...]]:
    """Every run of words of ``text``."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + SHARED_WORDS]) for start in range(len(words) - SHARED_WORDS + 1)}


def test_are_several_different_texts_of_some_length() -> None:
    assert len(set(CALIBRATION_TEXTS)) == len(CALIBRATION_TEXTS) >= 8
    assert all(len(runs(text)) > 20 for text in CALIBRATION_TEXTS)


@pytest.mark.slow
def test_share_nothing_with_humaneval() -> None:
    from lsbench.catalog import prepare_data

    problems = [json.loads(line) for line in prepare_data("humaneval").read_text().splitlines()]
    assert len(problems) == 164
    names = {problem["entry_point"] for problem in problems}
    evaluated = set().union(
        *(runs(problem["prompt"] + problem["canonical_solution"]) for problem in problems)
    )
    for text in CALIBRATION_TEXTS:
        assert not evaluated & runs(text)
        assert not names & set(re.findall(r"def (\w+)", text))


@pytest.mark.slow
def test_a_quotation_would_be_found() -> None:
    from lsbench.catalog import prepare_data

    prompt = json.loads(prepare_data("humaneval").read_text().splitlines()[0])["prompt"]
    assert runs("Something else first. " + prompt[40:200]) & runs(prompt)
