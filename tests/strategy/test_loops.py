"""The inherited loops: what they emit, and that scoring sees what generating would have done."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine import (
    ConstantPolicy,
    DecoderStack,
    DepthPlan,
    DepthPolicy,
    ExitView,
    Sampler,
    Session,
    StepContext,
)
from lsbench.spec import GenerateRequest, Sampling, ScoreWindow
from lsbench.strategy import loops
from lsbench.strategy.emission import Emitted
from support.requests import generate_request

LAYERS = 6
FILLS = ("recompute", "propagate", "mask")

quickly = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
prompts = st.lists(st.integers(0, 60), min_size=1, max_size=12).map(tuple)
fills = st.sampled_from(FILLS)


class Alternating(DepthPolicy):
    """Depths in turn, by position: a plan that changes but depends on nothing drawn."""

    def __init__(self, plans: Sequence[DepthPlan]) -> None:
        self.plans = plans

    def plan(self, context: StepContext) -> DepthPlan:
        return self.plans[context.step % len(self.plans)]


class Uncertain(DepthPolicy):
    """Full depth where the previous prediction was uncertain, else an early stop."""

    def __init__(self, fill: str) -> None:
        self.early = DepthPlan.exit_at(LAYERS, 2, fill)  # type: ignore[arg-type]

    def plan(self, context: StepContext) -> DepthPlan:
        return DepthPlan.full(LAYERS) if context.previous_entropy > 0.72 else self.early


class Confident(DepthPolicy):
    """Stops after the first layer from the second on that favours one token enough."""

    def __init__(self, fill: str) -> None:
        # Every layer is planned; the fill mode is that of the plan in force when the token stops.
        self.full = DepthPlan((True,) * (2 * LAYERS), fill)  # type: ignore[arg-type]

    def plan(self, context: StepContext) -> DepthPlan:
        return self.full

    def should_exit(self, layer: int, exit_view: ExitView) -> bool:
        return layer >= 2 and float(torch.softmax(exit_view.logits, -1).max()) > 0.3


class Revising(DepthPolicy):
    """Leaves the rest of the MLPs out when the third layer changed little."""

    def __init__(self, fill: str) -> None:
        self.light = DepthPlan.skipping(LAYERS, range(7, 12), fill)  # type: ignore[arg-type]

    def check_layers(self, num_layers: int) -> tuple[int, ...]:
        return (3,)

    def replan(self, layer: int, exit_view: ExitView) -> DepthPlan | None:
        return self.light if exit_view.cosine > 0.8 else None


POLICIES: dict[str, Callable[[str], DepthPolicy]] = {
    "full": lambda fill: ConstantPolicy(DepthPlan.full(LAYERS)),
    "exit": lambda fill: ConstantPolicy(DepthPlan.exit_at(LAYERS, 4, fill)),  # type: ignore[arg-type]
    "skip": lambda fill: ConstantPolicy(DepthPlan.skipping(LAYERS, (2, 5, 6, 7), fill)),  # type: ignore[arg-type]
    "alternating": lambda fill: Alternating(
        [DepthPlan.exit_at(LAYERS, depth, fill) for depth in (3, 6, 1)]  # type: ignore[arg-type]
    ),
    "uncertain": Uncertain,
    "confident": Confident,
    "revising": Revising,
}
policies = st.sampled_from(sorted(POLICIES))


def request(
    prompt: Sequence[int], count: int = 10, sampling: Sampling | None = None, seed: int = 0
) -> GenerateRequest:
    return generate_request(prompt, count, sampling=sampling or Sampling(), seed=seed)


def decode(stack: DecoderStack, asked: GenerateRequest, policy: DepthPolicy) -> list[Emitted]:
    return list(loops.decode(Session(stack), asked, policy))


def tokens_of(emitted: Sequence[Emitted]) -> tuple[int, ...]:
    return tuple(token for emission in emitted for token in emission.tokens)


def test_the_policies_of_this_file_do_change_depth_from_token_to_token(stack: DecoderStack) -> None:
    for name in ("alternating", "uncertain", "confident", "revising"):
        emitted = decode(stack, request((5, 6, 7), 40), POLICIES[name]("recompute"))
        assert len({emission.depth for emission in emitted[1:]}) > 1, name


class TestDecoding:
    @pytest.mark.parametrize("count", [0, 1, 2, 7])
    @pytest.mark.parametrize("name", POLICIES)
    def test_emits_exactly_as_many_tokens_as_were_asked_for(
        self, stack: DecoderStack, name: str, count: int
    ) -> None:
        emitted = decode(stack, request((5, 6, 7), count), POLICIES[name]("propagate"))
        assert [len(emission.tokens) for emission in emitted] == [1] * count
        assert {(emission.kind, emission.drafted) for emission in emitted} <= {("decoded", None)}

    def test_first_token_is_of_full_depth_and_the_others_as_deep_as_decided(
        self, stack: DecoderStack
    ) -> None:
        emitted = decode(stack, request((5, 6, 7), 7), POLICIES["alternating"]("recompute"))
        assert [emission.depth for emission in emitted] == [
            (6.0,),
            (3.0,),
            (6.0,),
            (1.0,),
            (3.0,),
            (6.0,),
            (1.0,),
        ]

    def test_the_first_token_is_the_full_models_whatever_the_policy(self, stack: DecoderStack) -> None:
        firsts = {tokens_of(decode(stack, request((9, 8), 1), make("mask"))) for make in POLICIES.values()}
        assert len(firsts) == 1

    def test_runs_nothing_before_it_is_asked_to(self, stack: DecoderStack) -> None:
        session = Session(stack)
        emissions = loops.decode(session, request((1, 2, 3), 9), POLICIES["full"]("mask"))
        assert session.lengths == (0,)
        next(emissions)
        assert session.lengths == (3,)
        next(emissions)
        assert session.lengths == (4,)

    @quickly
    @given(prompt=prompts)
    def test_at_full_depth_equals_greedy_generate_of_transformers(
        self, stack: DecoderStack, prompt: tuple[int, ...]
    ) -> None:
        ours = tokens_of(decode(stack, request(prompt, 12), POLICIES["full"]("recompute")))
        theirs = stack.model.generate(  # type: ignore[operator]
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
        )
        assert list(ours) == theirs[0, len(prompt) :].tolist()


class TestScoring:
    @quickly
    @given(prompt=prompts, continuation=prompts)
    def test_at_full_depth_equals_the_log_softmax_of_transformers(
        self, stack: DecoderStack, prompt: tuple[int, ...], continuation: tuple[int, ...]
    ) -> None:
        window = ScoreWindow(context=prompt, continuation=continuation)
        scored = loops.score_continuation(Session(stack), window, POLICIES["full"]("recompute"))
        with torch.inference_mode():
            logits = stack.model(torch.tensor([prompt + continuation])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits, -1)
        picked = expected[torch.arange(len(continuation)), torch.tensor(continuation)]
        assert np.allclose(scored.logprobs, picked.numpy(), rtol=0, atol=1e-9)
        assert list(scored.choices) == expected.argmax(-1).tolist()
        assert scored.depth == (6.0,) * len(continuation)

    @pytest.mark.parametrize("name", POLICIES)
    @quickly
    @given(fill=fills, prompt=prompts)
    def test_over_its_own_greedy_output_agrees_with_every_token_and_depth(
        self, stack: DecoderStack, name: str, fill: str, prompt: tuple[int, ...]
    ) -> None:
        emitted = decode(stack, request(prompt), POLICIES[name](fill))
        window = ScoreWindow(context=prompt, continuation=tokens_of(emitted))
        scored = loops.score_continuation(Session(stack), window, POLICIES[name](fill))
        assert scored.choices == tokens_of(emitted)
        assert scored.depth == tuple(depth for emission in emitted for depth in emission.depth or ())

    @quickly
    @given(name=policies, fill=fills, prompt=prompts, seed=st.integers(0, 2**63 - 1), data=st.data())
    def test_with_its_sampler_over_its_own_drawn_output_agrees_too(
        self,
        stack: DecoderStack,
        name: str,
        fill: str,
        prompt: tuple[int, ...],
        seed: int,
        data: st.DataObject,
    ) -> None:
        sampling = Sampling(
            temperature=data.draw(st.sampled_from([0.7, 2.0])),
            top_p=data.draw(st.sampled_from([0.8, 1.0])),
            top_k=data.draw(st.sampled_from([0, 5])),
        )
        emitted = decode(stack, request(prompt, 10, sampling, seed), POLICIES[name](fill))
        window = ScoreWindow(context=prompt, continuation=tokens_of(emitted))
        sampler = Sampler(sampling, seed)
        scored = loops.score_continuation(Session(stack), window, POLICIES[name](fill), sampler)
        assert scored.choices == tokens_of(emitted)

    @quickly
    @given(
        prompt=prompts,
        continuation=st.lists(st.integers(0, 60), min_size=1, max_size=20),
        skipped=st.sets(st.integers(0, 2 * LAYERS - 1)),
        fill=fills,
        rows=st.integers(1, 8),
    )
    def test_in_one_pass_equals_one_by_one_under_a_plan_that_never_changes(
        self,
        stack: DecoderStack,
        prompt: tuple[int, ...],
        continuation: list[int],
        skipped: set[int],
        fill: str,
        rows: int,
    ) -> None:
        plan = DepthPlan.skipping(LAYERS, skipped, fill)  # type: ignore[arg-type]
        window = ScoreWindow(context=prompt, continuation=tuple(continuation))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loops, "_SCORED_ROWS", rows)
            together = loops.score_continuation(Session(stack), window, ConstantPolicy(plan))
        apart = loops.score_continuation(Session(stack), window, Alternating([plan]))
        assert np.allclose(together.logprobs, apart.logprobs, rtol=0, atol=1e-9)
        assert together.choices == apart.choices
        assert together.depth == apart.depth

    def test_depth_rule_changes_the_likelihood(self, stack: DecoderStack) -> None:
        window = ScoreWindow(context=(1, 2, 3), continuation=(4, 5, 6, 7))
        scores = [
            loops.score_continuation(Session(stack), window, POLICIES[name]("recompute")).logprobs
            for name in ("full", "exit", "skip")
        ]
        assert len({score[0] for score in scores}) == 1, "the first is predicted by the prefill"
        assert len({score[1:] for score in scores}) == 3


class TestSeeds:
    drawn = Sampling(temperature=1.5)

    @pytest.mark.parametrize("name", POLICIES)
    def test_the_same_request_gives_the_same_output_whatever_ran_before(
        self, stack: DecoderStack, name: str
    ) -> None:
        asked = request((3, 1, 4), 12, self.drawn, seed=11)
        alone = decode(stack, asked, POLICIES[name]("propagate"))
        torch.manual_seed(5)
        for seed in range(3):
            decode(stack, request((2, 7), 5, self.drawn, seed), POLICIES["uncertain"]("mask"))
        assert decode(stack, asked, POLICIES[name]("propagate")) == alone

    def test_other_seeds_give_other_outputs(self, stack: DecoderStack) -> None:
        outputs = {
            tokens_of(decode(stack, request((3, 1, 4), 12, self.drawn, seed), POLICIES["full"]("mask")))
            for seed in range(6)
        }
        assert len(outputs) == 6

    def test_global_random_state_is_left_alone(self, stack: DecoderStack) -> None:
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
        emitted = decode(stack, request((3, 1, 4), 8, self.drawn, 1), POLICIES["confident"]("mask"))
        window = ScoreWindow(context=(3, 1, 4), continuation=tokens_of(emitted))
        loops.score_continuation(Session(stack), window, POLICIES["full"]("mask"), Sampler(self.drawn, 1))
        assert torch.equal(before[0], torch.random.get_rng_state())
        assert np.array_equal(before[1], np.random.get_state()[1])
