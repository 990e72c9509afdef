"""BLEU of a corpus from its documents' counts, each worked out by hand; ROUGE is in test_own_tasks."""

from math import exp

import pytest

from lsbench_tasks.texts import bleu_counts, corpus_bleu, keep_all

# "a dog", "dog ran" and "a dog ran" stand in the reference; "ran fast" does not.
FAST = (4, 2, 1, 0, 4, 3, 2, 1, 4, 5)
RAIN = (7, 6, 5, 4, 7, 6, 5, 4, 7, 7)


def test_counts_and_the_bleu_that_they_make():
    import sacrebleu

    outputs = [" a dog ran fast", "it did not rain at all today\n"]
    references = ["a dog ran very fast", "it did not rain at all today"]
    assert [bleu_counts([r], o) for r, o in zip(references, outputs, strict=True)] == [FAST, RAIN]
    # 11 of 11, 8 of 9, 6 of 7 and 4 of 5 runs; 11 tokens where the references have 12.
    by_hand = 100 * exp(1 - 12 / 11) * (1 * 8 / 9 * 6 / 7 * 4 / 5) ** 0.25
    assert corpus_bleu([FAST, RAIN]) == pytest.approx(by_hand)
    assert corpus_bleu([[f + r for f, r in zip(FAST, RAIN, strict=True)]]) == pytest.approx(by_hand)
    assert sacrebleu.corpus_bleu(outputs, [references]).score == pytest.approx(by_hand)


def test_any_reference_may_be_met_and_the_nearest_length_counts():
    # "a dog ran" is in the first, "ran fast" in the second; the first is as long as the output.
    counts = bleu_counts(["a dog ran home", "it ran fast and far away"], "a dog ran fast")
    assert counts == (4, 3, 1, 0, 4, 3, 2, 1, 4, 4)


def test_nothing_written_scores_nothing():
    assert bleu_counts(["a dog"], "") == (0, 0, 0, 0, 0, 0, 0, 0, 0, 2)
    assert corpus_bleu([bleu_counts(["a dog"], "")]) == 0


def test_every_repeat_is_kept():
    assert keep_all([["a", "b"], ["c", "d"]], [{}, {}]) == [["a", "b"], ["c", "d"]]
