"""What of a turn is left, and what was in hand, when a replica is lost."""

import pytest

from lsbench.execution.cluster.assignment import Assignment
from lsbench.execution.lines import key_of
from lsbench.execution.turns import Turn
from lsbench.spec import GenerateRequest, Sampling, ScoreRequest, ScoreWindow, StrategyChoice

BASELINE, EXACT, LOSSY = (StrategyChoice(name=name) for name in ("baseline", "exact", "lossy"))


def generation(doc_id: int, temperature: float = 0.0) -> GenerateRequest:
    return GenerateRequest(
        task="t",
        doc_id=doc_id,
        arguments_sha256="0",
        prompt="p",
        prompt_tokens=(1, 2),
        max_new_tokens=4,
        sampling=Sampling(temperature=temperature),
    )


def scored(doc_id: int) -> ScoreRequest:
    window = ScoreWindow(context=(1,), continuation=(2, 3))
    return ScoreRequest(
        task="t", doc_id=doc_id, arguments_sha256="0", prompt="p", target="c", windows=(window,)
    )


def assigned(*requests, index: int = 0) -> Assignment:
    batch = 0 if len(requests) > 1 else None
    turn = Turn(index, requests, batch, len(requests))
    return Assignment(turn, (BASELINE, EXACT, LOSSY), {"baseline", "exact"})


def pieces(missing) -> list[tuple[str, str, int]]:
    return [(piece.choice.name, piece.kind, piece.request.doc_id) for piece in missing]


def all_of(missing) -> set:
    return {piece.key for piece in missing}


@pytest.mark.parametrize("index", [0, 1])
def test_generations_come_in_the_turns_order_and_looks_once_they_can(index):
    assignment = assigned(generation(7), index=index)
    order = ["baseline", "exact", "lossy"][:: 1 if index == 0 else -1]
    first = assignment.missing(set(), set())
    assert pieces(first) == [(name, "generate", 7) for name in order]
    done = all_of(first)
    looks = assignment.missing(done, set())
    assert pieces(looks) == [("exact", "fidelity", 7), ("exact", "parity", 7), ("lossy", "fidelity", 7)]
    assert assignment.missing(done | all_of(looks), set()) == []


def test_what_failed_is_there_and_nothing_follows_from_it():
    assignment = assigned(generation(7))
    done = all_of(assignment.missing(set(), set()))
    of_exact = key_of("exact", generation(7), "generate")
    assert pieces(assignment.missing(done, {of_exact})) == [
        ("exact", "fidelity", 7),
        ("lossy", "fidelity", 7),
    ]
    of_baseline = key_of("baseline", generation(7), "generate")
    assert assignment.missing(done, {of_baseline}) == []


def test_sampled_outputs_are_certified_and_scores_are_not_looked_at():
    sampled = assigned(generation(7, temperature=1.0))
    done = all_of(sampled.missing(set(), set()))
    assert ("exact", "certificate", 7) in pieces(sampled.missing(done, set()))
    scores = assigned(scored(3))
    first = scores.missing(set(), set())
    assert pieces(first) == [(name, "score", 3) for name in ("baseline", "exact", "lossy")]
    assert scores.missing(all_of(first), set()) == []
    assert all_of(first) == {piece.key for piece in scores.everything()}


def test_everything_holds_whatever_can_come():
    assignment = assigned(generation(1, temperature=1.0), generation(2))
    first = assignment.missing(set(), set())
    looks = assignment.missing(all_of(first), set())
    assert all_of(first) | all_of(looks) <= {piece.key for piece in assignment.everything()}


def test_only_what_was_in_hand_is_given_up_and_only_after_the_retries():
    assignment = assigned(generation(1), generation(2))
    missing = assignment.missing({key_of("baseline", generation(1), "generate")}, set())
    assert assignment.given_up(missing, max_retries=1) == []
    assert pieces(assignment.given_up(missing, max_retries=1)) == [("baseline", "generate", 2)]
    # Another strategy has its own count; a batch that decodes together is in hand together.
    rest = [piece for piece in missing if piece.choice != BASELINE]
    assert assignment.given_up(rest, max_retries=1) == []
    assert pieces(assignment.given_up(rest, max_retries=1)) == [
        ("exact", "generate", 1),
        ("exact", "generate", 2),
    ]


def test_a_look_is_given_up_by_itself():
    assignment = assigned(generation(1))
    looks = assignment.missing(all_of(assignment.missing(set(), set())), set())
    assert pieces(assignment.given_up(looks, max_retries=0)) == [("exact", "fidelity", 1)]
    assert assignment.given_up([], max_retries=0) == []
