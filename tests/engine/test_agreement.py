"""Ranks that take turns in one process: what they decide as one, and how those that part find out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lsbench.engine import DepthPlan, DepthPolicy, Session
from lsbench.engine.agreement import ALONE, Disagreement
from lsbench.engine.random_model import random_stack
from lsbench.engine.ranks_in_turn import run_on_ranks

PROMPT = torch.tensor([[5, 17, 3, 24, 8]])


@pytest.fixture(scope="module")
def stack():
    return random_stack(4)


def _on_both(stack, job):
    outcomes = run_on_ranks(stack, 2, lambda part: job(part.agreement))
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return outcomes


@pytest.mark.parametrize("value", [0.0, -1.5, 1e-300, 3.141592653589793, float("inf")])
def test_a_number_is_rank_0s_to_the_last_bit(stack, value) -> None:
    assert _on_both(stack, lambda all: all.number(value if all.rank == 0 else 7.0)) == [value, value]


def test_whole_numbers_of_any_size_and_sign_are_rank_0s(stack) -> None:
    numbers = (0, 1, -1, 2**40 + 3, -(2**50), *range(20))
    assert (
        _on_both(stack, lambda all: all.whole_numbers([n * (1 - all.rank) for n in numbers])) == [numbers] * 2
    )


def test_flags_and_arrays_are_rank_0s_and_totals_are_of_all(stack) -> None:
    assert _on_both(stack, lambda all: all.flag(all.rank == 0)) == [True, True]
    assert _on_both(stack, lambda all: all.total(2**33 + all.rank)) == [2**34 + 1] * 2
    arrays = _on_both(stack, lambda all: all.array(np.arange(5.0) + all.rank))
    assert all((array == np.arange(5.0)).all() for array in arrays)
    largest = _on_both(stack, lambda all: all.largest(torch.tensor([1.0, -all.rank, 3.0 * all.rank])))
    assert all(each.tolist() == [1.0, 0.0, 3.0] for each in largest)


def test_alone_everything_is_as_it_is() -> None:
    plans = [DepthPlan.full(2)]
    assert ALONE.number(0.1) == 0.1
    assert ALONE.whole_numbers([3]) == (3,)
    assert ALONE.step(PROMPT, (0,), plans) is plans
    ALONE.same("an output", [1])
    ALONE.failed(RuntimeError())


@pytest.mark.parametrize("what", ["other tokens", "other places", "another length"])
def test_steps_that_differ_are_refused_on_every_rank(stack, what) -> None:
    def job(all):
        tokens, firsts = PROMPT, [0]
        if all.rank:
            tokens = {"other tokens": PROMPT + 1, "another length": PROMPT[:, :3]}.get(what, PROMPT)
            firsts = [int(what == "other places")]
        all.step(tokens, firsts, [])

    for outcome in run_on_ranks(stack, 2, lambda part: job(part.agreement)):
        assert isinstance(outcome, Disagreement)
        assert "rank 1 and rank 0 run other tokens in step 1" in str(outcome)


def test_ranks_at_different_points_of_the_program_find_out(stack) -> None:
    outcomes = run_on_ranks(
        stack, 2, lambda part: part.agreement.flag(True) if part.agreement.rank else part.agreement.total(1)
    )
    assert all("do not send" in str(outcome) for outcome in outcomes)


def test_outputs_that_differ_are_refused(stack) -> None:
    outcomes = run_on_ranks(stack, 2, lambda part: part.agreement.same("an output", [part.agreement.rank]))
    assert all("came to other an output" in str(outcome) for outcome in outcomes)


def test_plans_are_rank_0s(stack) -> None:
    plans = [DepthPlan.exit_at(30, 7, "mask"), DepthPlan.skipping(30, (3, 59), "propagate")]

    def job(all):
        mine = plans if all.rank == 0 else [DepthPlan.full(30)] * 2
        return list(all.step(torch.cat([PROMPT, PROMPT]), (0, 0), mine))

    assert _on_both(stack, job) == [plans, plans]


class Contrary(DepthPolicy):
    """Decides on rank 1 otherwise than on rank 0, at every turn."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def plan(self, context):
        return DepthPlan.full(4) if self.rank else DepthPlan.skipping(4, (3,), "mask")

    def replan(self, layer, exit_view):
        return DepthPlan.skipping(4, (4,), "propagate") if layer == 2 and not self.rank else None

    def should_exit(self, layer, exit_view):
        return layer == (1 if self.rank else 3)


def test_rank_0_decides_how_deep_a_token_goes(stack) -> None:
    def job(part):
        session = Session(part)
        session.prefill(PROMPT)
        result = session.forward(torch.tensor([[4]]), Contrary(part.agreement.rank))
        return result.runs[0, 0].tolist(), result.logits.tolist()

    first, second = run_on_ranks(stack, 2, job)
    assert first == second
    assert first[0] == [True, True, True, False, False, True, False, False]


def test_logits_that_some_ranks_alone_look_at_are_found_out(stack) -> None:
    class Curious(DepthPolicy):
        def __init__(self, rank):
            self.rank = rank

        def should_exit(self, layer, exit_view):
            return bool(self.rank) and float(exit_view.logits.max()) > 0

    def job(part):
        session = Session(part)
        session.prefill(PROMPT)
        session.forward(torch.tensor([[4]]), Curious(part.agreement.rank))

    assert all(isinstance(outcome, Disagreement) for outcome in run_on_ranks(stack, 2, job))


def test_a_failure_of_all_is_passed_over_and_one_of_some_is_told(stack) -> None:
    def job(part, failing):
        if part.agreement.rank in failing:
            part.agreement.failed(ValueError("no such thing"))
        return "went on"

    assert run_on_ranks(stack, 2, lambda part: job(part, (0, 1))) == ["went on"] * 2
    spared, failed = run_on_ranks(stack, 2, lambda part: job(part, (1,)))
    assert spared == "went on"
    assert str(failed) == "Rank 1 of 2 failed where others did not: ValueError: no such thing"


def test_a_rank_that_ends_lets_the_others_end(stack) -> None:
    def job(part):
        if part.agreement.rank:
            raise KeyError("broken")
        Session(part).prefill(PROMPT)

    first, second = run_on_ranks(stack, 2, job)
    assert isinstance(first, Disagreement)
    assert isinstance(second, KeyError)


def test_hidden_states_that_are_observed_are_rank_0s(stack) -> None:
    def job(part):
        heard = []
        if part.agreement.rank:
            embed = part.embed
            part.embed = lambda tokens: embed(tokens) + 1e-3
        plan = DepthPlan.full(4)
        observer = lambda sublayer, positions, entering, leaving: heard.append(  # noqa: E731
            (sublayer, entering.tolist(), leaving.tolist())
        )
        logits = Session(part).forward(PROMPT, plan, observer).logits
        return heard, logits.tolist()

    first, second = run_on_ranks(stack, 2, job)
    assert first == second
    assert len(first[0]) == 8
