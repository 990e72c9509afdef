"""draft.vocab: a draft reads a part of the head alone, and what comes out stays the full model's."""

import copy
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine import ConstantPolicy, DecoderStack, DepthPlan, Session
from lsbench.engine.linear import Linear
from lsbench.errors import BadInput
from lsbench.spec import Sampling, parse_strategy
from lsbench.strategy import (
    Draft,
    Drafted,
    Emitted,
    GenerateRequest,
    Preparation,
    Strategy,
    draft_cost,
    drafting,
    speculate,
)
from lsbench.strategy.predicted_tokens import PredictedTokens
from lsbench.strategy.registry import resolve
from lsbench_strategies import frequent_tokens as module
from lsbench_strategies.frequent_tokens import best_draft_vocabulary, frequent_tokens, trimming_gain
from support.models import random_llama
from support.requests import generate_request

LAYERS, VOCABULARY = 6, 61
EXIT = "self_speculative:draft=static_exit,draft.exit_layer=4,draft.vocab={}"
DRAFTS = (
    "static_exit,draft.exit_layer=2",
    "static_exit,draft.exit_layer=6",
    "static_exit,draft.exit_layer=online",
    "dynamic_skip,draft.max_skip_ratio=0.4",
    "dynamic_skip,draft.skip_set=online,draft.max_skip_ratio=0.4",
    "dynamic_skip,draft.difficulty=previous_margin,draft.skip_set=[2],draft.thresholds=[0.5]",
    "dynamic_exit,draft.threshold=0.3",
    "dynamic_exit,draft.confidence=entropy,draft.threshold=0.4",
    "dynamic_exit,draft.confidence=patience",
    "dynamic_exit,draft.threshold=0.4,draft.check_vocab=20",
    "dynamic_exit,draft.threshold=0.4,draft.kv_fill=propagate,draft.check_vocab=7",
    "autoregressive",
)


def tokens_of(emitted: Iterator[Emitted]) -> list[int]:
    return [token for emission in emitted for token in emission.tokens]


class TestOption:
    @pytest.mark.parametrize("value", ["auto", "full", "16"])
    def test_it_is_read_back_as_it_was_written(self, value: str) -> None:
        choice = parse_strategy(EXIT.format(value))
        assert parse_strategy(choice.label) == choice
        options = resolve(choice).options
        assert str(options.draft_vocabulary) == value  # type: ignore[attr-defined]

    def test_every_head_row_is_read_unless_asked(self) -> None:
        options = resolve(parse_strategy("self_speculative")).options
        assert options.draft_vocabulary == "full"  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ("draft.vocb=16", ("no option 'draft.vocb'", "Did you mean 'draft.vocab'?")),
            ("vocab=16", ("no option 'vocab'", "Did you mean 'draft.vocab'?")),
            ("draft.vocab=ful", ("draft.vocab must be auto, full or a whole number", "Did you mean full?")),
            ("draft.vocab=1", ("draft.vocab must be auto, full or a whole number of at least 2, not 1",)),
            ("draft.vocab=2.5", ("draft.vocab must be", "not 2.5")),
        ],
    )
    def test_what_is_wrong_is_said_by_the_name_that_was_written(self, refusal, options, says) -> None:
        message = refusal(f"self_speculative:{options}")
        assert all(words in message for words in says)

    @pytest.mark.parametrize("count", [61, 62])
    def test_no_fewer_than_all_is_refused(self, bench, count: int) -> None:
        with pytest.raises(
            BadInput, match=f"draft.vocab={count}, but the model has 61 tokens in all"
        ) as told:
            bench.make(EXIT.format(count))
        assert "\n" not in str(told.value)

    def test_a_strategy_alone_has_none(self, refusal) -> None:
        assert "no option 'vocab'" in refusal("static_exit:exit_layer=2,vocab=16")


@pytest.fixture
def heads(monkeypatch) -> list[int]:
    """Output rows of every product with a part of the head or all of it, once prepared."""
    made: list[int] = []
    forward = Linear.forward

    def noted(self, x):
        if self.in_features == 32 and self.out_features in (VOCABULARY, 20, 16):
            made.append(self.out_features)
        return forward(self, x)

    monkeypatch.setattr(Linear, "forward", noted)
    return made


class TestProducts:
    @pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.9)])
    def test_a_draft_step_reads_its_part_and_a_verifying_pass_all(self, bench, heads, sampling) -> None:
        strategy = bench.make(EXIT.format(20))
        heads.clear()
        run = bench.run(strategy, sampling=sampling)
        cycles = [emission for emission in run.emitted if emission.drafted is not None]
        drafted = sum(emission.drafted for emission in cycles)
        assert drafted > 0
        assert heads.count(20) == drafted
        assert heads.count(VOCABULARY) == 1 + len(cycles)
        assert sum(e.draft_heads for e in cycles) == pytest.approx(drafted * 20 / 61)

    @pytest.mark.parametrize(
        ("check", "reads"), [("", 1), (",draft.check_vocab=20", 1), (",draft.check_vocab=16", 2)]
    )
    def test_the_look_that_ends_a_token_serves_its_choice(self, bench, heads, check: str, reads: int) -> None:
        """Each token stops at the first layer looked at: one product, or two where others are checked."""
        strategy = bench.make(
            f"self_speculative:draft=dynamic_exit,draft.threshold=0,draft.vocab=20{check},num_speculations=3"
        )
        heads.clear()
        run = bench.run(strategy)
        drafted = sum(emission.drafted or 0 for emission in run.emitted)
        assert drafted > 0
        assert run.session.tally.checks == drafted
        assert len([rows for rows in heads if rows != VOCABULARY]) == reads * drafted
        assert heads.count(20) == drafted

    def test_so_it_does_with_the_whole_head(self, bench, heads) -> None:
        strategy = bench.make("self_speculative:draft=dynamic_exit,draft.threshold=0,num_speculations=3")
        heads.clear()
        run = bench.run(strategy)
        cycles = [emission for emission in run.emitted if emission.drafted is not None]
        assert len(heads) == 1 + len(cycles) + sum(emission.drafted for emission in cycles)

    def test_looks_that_learn_read_the_drafts_own_part(self, bench, heads) -> None:
        strategy = bench.make("self_speculative:draft=static_exit,draft.exit_layer=online,draft.vocab=20")
        heads.clear()
        run = bench.run(strategy, count=40)
        cycles = [emission for emission in run.emitted if emission.drafted is not None]
        # Looks are besides the drafts'; the whole head is read by prefill and verifying alone.
        assert heads.count(20) > sum(emission.drafted for emission in cycles)
        assert heads.count(VOCABULARY) == 1 + len(cycles)


class TestThirdParties:
    class Own(Draft):
        """Exits at a layer, and predicts with a head of its own making."""

        def __init__(self, head) -> None:
            self.head = head

        def propose(self, session, last, count, sampler) -> Iterator[Drafted]:
            plan = DepthPlan.exit_at(session.num_layers, 3)
            for _ in range(count):
                result = session.forward(torch.tensor([[last]]), plan, head=self.head)
                last = sampler.choose(result.logits[0, -1])
                yield Drafted(last, layers=3.0, head_share=self.head.share)

    def test_a_draft_of_theirs_predicts_with_a_part(self, bench, heads) -> None:
        head = bench.stack.partial_head(frequent_tokens(bench.preparation, 16))
        full = bench.run("autoregressive").tokens
        heads.clear()
        emitted = list(
            speculate(Session(bench.stack), generate_request((5, 17, 3, 44, 8, 21, 9), 24), self.Own(head), 3)
        )
        assert tuple(tokens_of(iter(emitted))) == full
        assert heads.count(16) == sum(emission.drafted or 0 for emission in emitted)

    def test_a_draft_that_takes_none_is_given_none_and_a_number_is_refused(self, bench, monkeypatch) -> None:
        """Its ``draft`` may have been written before there was a head to take."""

        def draft(self, request: GenerateRequest, stop_below: float = 0.0) -> Draft:
            return drafting.PolicyDraft(ConstantPolicy(DepthPlan.exit_at(LAYERS, 2)), stop_below)

        full = bench.run("autoregressive").tokens
        monkeypatch.setattr("lsbench_strategies.static_exit.StaticExit.draft", draft)
        for value in ("auto", "full"):
            assert bench.run(EXIT.format(value)).tokens == full
        with pytest.raises(BadInput, match="=20 has no effect, because draft=static_exit") as told:
            resolve(parse_strategy(EXIT.format(20)))
        assert "\n" not in str(told.value)


def test_costs_count_the_rows_that_are_read(stack: DecoderStack) -> None:
    cost = draft_cost.cycle_cost(stack, in_seconds=False)
    head = stack.head_product.weight_bytes * LAYERS / sum(stack.sublayer_bytes)
    drafted = [Drafted(1, None, 2.0, head_share=0.25), Drafted(2, None, 3.0), Drafted(3, None, 0.0)]
    assert cost.drafted(drafted) == pytest.approx(2 + 0.25 * head + 3 + head)
    assert cost.verified() == pytest.approx(LAYERS + head)


class TestHowMany:
    def test_the_gain_by_hand(self) -> None:
        # Two drafts of which nine in ten can be right: 1 + 0.9 + 0.81 tokens of three. The head is a fifth of
        # all weights and a quarter of it is read: two steps of 0.85 and one of 1, of three.
        assert trimming_gain(0.9, 0.25, 0.2, 2) == pytest.approx((2.71 / 3) / (2.7 / 3))
        assert trimming_gain(1.0, 1.0, 0.2, 4) == pytest.approx(1)

    @pytest.mark.parametrize("acceptance", [0.2, 0.7, 1.0])
    @pytest.mark.parametrize("depth", [0.1, 0.5, 1.0])
    def test_no_draft_gains_less(self, acceptance: float, depth: float) -> None:
        """``depth`` of the layers run, and a token that is not lacked is taken with chance ``acceptance``."""
        count, rows, head, coverage = 4, 0.3, 0.2, 0.95

        def rate(rows: float, coverage: float) -> float:
            tokens = sum((acceptance * coverage) ** place for place in range(count + 1))
            return tokens / (count * ((1 - head) * depth + rows * head) + 1)

        least = trimming_gain(coverage, rows, head, count)
        assert rate(rows, coverage) / rate(1, 1) >= least * (1 - 1e-12)

    def test_prompts_left_out_of_the_ranking_say_what_is_covered(self) -> None:
        mass = torch.tensor([[3.0, 2, 0, 0], [3.0, 0, 2, 0], [0.0, 1, 0, 2]], dtype=torch.float64)
        choices = (torch.tensor([0, 1, 0]), torch.tensor([2, 0]), torch.tensor([3, 3, 1, 0]))
        found = PredictedTokens(mass, choices)
        assert found.most_frequent(2).tolist() == [0, 1]
        # The others' masses are (3, 1, 2, 2), (3, 3, 0, 2) and (6, 2, 2, 0): 0 and 2 are the largest, then
        # 0 and 1 twice.
        assert found.coverage(2) == pytest.approx((2 + 1 + 2) / 9)
        assert PredictedTokens(mass[:1], choices[:1]).coverage(2) is None

    @pytest.mark.parametrize(
        ("coverage", "expected"),
        [
            ({8: 1.0, 16: 1.0, 32: 1.0}, 8),
            ({8: 0.5, 16: 1.0, 32: 1.0}, 16),
            ({8: 0.5, 16: 0.7, 32: 0.8}, None),
            ({8: None, 16: None, 32: None}, None),
        ],
    )
    def test_the_most_gained_wins_and_in_doubt_all(self, monkeypatch, coverage, expected) -> None:
        # One layer, so that the head is nearly a fifth of the weights.
        stack = DecoderStack(random_llama(3, vocab_size=61, num_hidden_layers=1))
        monkeypatch.setattr(PredictedTokens, "coverage", lambda self, count: coverage[count])
        monkeypatch.setattr(module, "_SMALLEST", 8)
        assert best_draft_vocabulary(Preparation(stack, ((1, 2, 3),)), 4) == expected

    def test_auto_drafts_with_as_many_as_are_found(self, bench, monkeypatch) -> None:
        monkeypatch.setattr("lsbench_strategies.self_speculative.best_draft_vocabulary", lambda *_: 20)
        found, twenty = bench.run(EXIT.format("auto")), bench.run(EXIT.format(20))
        assert found.emitted == twenty.emitted
        monkeypatch.setattr("lsbench_strategies.self_speculative.best_draft_vocabulary", lambda *_: None)
        assert (
            bench.run(EXIT.format("auto")).emitted == bench.run(EXIT.format("full")).emitted != found.emitted
        )


# -- exactness -----------------------------------------------------------------------------------------


@cache
def made(text: str) -> tuple[Strategy, DecoderStack]:
    stack = _stacks()[0]
    strategy = resolve(parse_strategy(text))
    strategy.check(LAYERS)
    strategy.prepare(Preparation(stack, ((1, 2, 3, 4, 5, 30, 41, 60), (9, 8, 7, 3, 1))))
    return strategy, stack


@cache
def _stacks():
    model = random_llama(21, vocab_size=VOCABULARY, num_hidden_layers=LAYERS, initializer_range=0.25).double()
    return DecoderStack(model), copy.deepcopy(model)


@cache
def reference(prompt: tuple[int, ...], count: int) -> list[int]:
    """Transformers' own forward passes."""
    ids = list(prompt)
    for _ in range(count):
        with torch.inference_mode():
            ids.append(int(_stacks()[1](torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


prompts = st.sampled_from([(3, 1, 4), (1, 5, 9, 2, 6), (53,), (58, 9, 7, 9)])


def check_identity(draft: str, vocabulary: int | str, count: int, stop: str, prompt: tuple[int, ...]) -> int:
    text = f"self_speculative:draft={draft},draft.vocab={vocabulary},num_speculations={count}{stop}"
    strategy, stack = made(text)
    emitted = list(strategy.generate(Session(stack), generate_request(prompt, 20)))
    assert tokens_of(iter(emitted)) == reference(prompt, 20)
    return sum(len(emission.tokens) for emission in emitted if emission.kind == "accepted")


@pytest.mark.parametrize(
    "draft",
    [pytest.param(draft, marks=pytest.mark.slow if place % 3 else ()) for place, draft in enumerate(DRAFTS)],
)
def test_greedy_output_is_the_full_models(draft: str) -> None:
    check_identity(draft, 20, 3, "", (3, 1, 4))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    draft=st.sampled_from(DRAFTS),
    vocabulary=st.one_of(st.integers(2, 60), st.sampled_from(["auto", "full"])),
    count=st.integers(1, 6),
    stop=st.sampled_from(["", ",draft_stop=0.3"]),
    prompt=prompts,
)
def test_greedy_output_is_the_full_models_whatever_is_left_out(
    draft, vocabulary, count, stop, prompt
) -> None:
    check_identity(draft, vocabulary, count, stop, prompt)


def test_a_draft_as_deep_as_the_model_is_not_taken_unverified() -> None:
    """Its positions are exact, but a trimmed head chooses otherwise where it lacks the right token."""
    accepted = [check_identity("autoregressive", 20, 4, "", prompt) for prompt in ((3, 1, 4), (58, 9, 7, 9))]
    assert 0 < sum(accepted) < 2 * 19
