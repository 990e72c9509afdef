"""Tuning and final documents never meet."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsbench.errors import BadInput
from lsbench.tuning.split import MIN_FINAL, Split, split_by_tasks, split_documents


@settings(max_examples=40)
@given(
    count=st.integers(MIN_FINAL + 1, 80),
    tuning=st.integers(1, 60),
    final=st.none() | st.integers(1, 60),
    seed=st.integers(0, 2**40),
)
def test_a_split_is_disjoint_and_as_large_as_asked(count, tuning, final, seed):
    least = MIN_FINAL if final is None else final
    documents = {"a": range(count), "b": range(count, 3 * count)}
    if count < tuning + least:
        with pytest.raises(BadInput, match=f"'a' has {count} documents, but {tuning + least} are needed"):
            split_documents(documents, tuning, final, seed)
        return
    split = split_documents(documents, tuning, final, seed)
    for task, ids in documents.items():
        ours, theirs = split.tuning[task], split.final[task]
        assert not set(ours) & set(theirs)
        assert set(ours) | set(theirs) <= set(ids)
        assert len(ours) == tuning
        assert len(theirs) == (len(ids) - tuning if final is None else final)
        assert list(ours) == sorted(ours)
        assert list(theirs) == sorted(theirs)
    assert split == split_documents({"b": documents["b"], "a": documents["a"]}, tuning, final, seed)
    assert (split.tuning_documents, split.final_documents) == (
        2 * tuning,
        sum(map(len, split.final.values())),
    )


def test_another_seed_is_another_split_and_tasks_differ():
    documents = {"a": range(100), "b": range(100)}
    one, other = (split_documents(documents, 20, seed=seed) for seed in (1, 2))
    assert one.tuning != other.tuning
    assert one.tuning["a"] != one.tuning["b"]


def test_tuning_on_more_leaves_the_final_documents_as_they_were():
    few, many = (split_documents({"a": range(100)}, tuning, 30, seed=4) for tuning in (10, 60))
    assert few.final == many.final
    assert set(few.tuning["a"]) < set(many.tuning["a"])


def test_membership_is_even():
    """Every document is as likely to be tuned on: 0.2 of 400 seeds, so 80 +- 8 (one sigma)."""
    seen = [0] * 50
    for seed in range(400):
        for document in split_documents({"a": range(50)}, 10, seed=seed).tuning["a"]:
            seen[document] += 1
    assert max(abs(count - 80) for count in seen) < 40


def test_different_tasks_can_be_the_two_sides():
    split = split_by_tasks({"train": range(9)}, {"test": range(7)})
    assert (split.method, split.tuning, split.final) == (
        "tasks",
        {"train": tuple(range(9))},
        {"test": tuple(range(7))},
    )
    with pytest.raises(BadInput, match="'test' is both"):
        split_by_tasks({"test": range(9)}, {"test": range(7)})
    with pytest.raises(BadInput, match="9 documents to tune on and 4 to judge on; 1 and 5 are needed"):
        split_by_tasks({"train": range(9)}, {"test": range(4)})


def test_a_split_that_overlaps_cannot_be_made_or_read():
    with pytest.raises(ValueError, match="document 2 of a is both"):
        Split(seed=0, tuning={"a": (1, 2)}, final={"a": (2, 3)})
    with pytest.raises(BadInput, match="not 0 and 5"):
        split_documents({"a": range(100)}, 0)
