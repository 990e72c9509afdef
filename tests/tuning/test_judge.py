"""What is judged is what decoding really does: the same cycles, the same choices, the same work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lsbench.engine import Session
from lsbench.spec import ScoreWindow
from lsbench.strategy import BadInput, Strategy
from lsbench.tuning.judge import Judge, Judgement, Unjudged
from lsbench.tuning.walk import Walk
from support.families.models import made_family
from support.judging import COSTS, Bench, bench_of, llama_bench, taken_per_cycle
from support.models import single_thread
from support.speculation import drafts

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "strategies" / "example_prompt_lookup"
LAYERS = 6
RELAXED = [HealthCheck.too_slow, HealthCheck.filter_too_much]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def bench() -> Bench:
    return llama_bench()


def judged(bench: Bench, strategy: Strategy) -> Judgement:
    found = Judge(bench.references, COSTS).judge(strategy)
    assert isinstance(found, Judgement), found
    return found


def really_taken(bench: Bench, strategy: Strategy) -> tuple[tuple[int, ...], ...]:
    return tuple(
        taken_per_cycle(bench.emitted(strategy, each.request)[0]) for each in bench.references.references
    )


speculations = st.builds(
    "self_speculative:{},num_speculations={}{}{}".format,
    drafts(LAYERS).filter(lambda text: "online" not in text),
    st.integers(1, 8),
    st.sampled_from(["", "", ",draft_stop=0.05", ",draft_stop=0.3", ",draft_stop=0.8"]),
    st.sampled_from(["", "", ",draft.vocab=120"]),
)


def check_cycles(text: str) -> None:
    bench = llama_bench()
    try:
        strategy = bench.strategy(text)
    except BadInput:
        assume(False)
        raise
    found = judged(bench, strategy)
    assert found.cycles == really_taken(bench, strategy)
    assert found.accepted == sum(map(sum, found.cycles))
    assert found.passes == sum(map(len, found.cycles))


@settings(max_examples=4, deadline=None, suppress_health_check=RELAXED, derandomize=True)
@given(speculations)
def test_every_cycle_takes_as_many_tokens_as_drafting_and_verifying_does(text: str) -> None:
    check_cycles(text)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=RELAXED)
@given(speculations)
def test_more_cycles(text: str) -> None:
    check_cycles(text)


@pytest.mark.parametrize(
    "draft",
    [
        "static_exit,draft.exit_layer=3",
        "static_exit,draft.exit_layer=2,draft.kv_fill=propagate",
        "static_exit,draft.exit_layer=6",
        "dynamic_skip,draft.skip_set=[4.attention,5.mlp],draft.thresholds=[2]",
        "dynamic_skip,draft.skip_set=[2,3],draft.granularity=layer,draft.thresholds=[2],draft.kv_fill=mask",
    ],
)
def test_under_one_plan_the_work_is_that_of_the_loop_to_the_last_layer(bench: Bench, draft: str) -> None:
    strategy = bench.strategy(f"self_speculative:draft={draft},num_speculations=4")
    found = judged(bench, strategy)
    drafted = filled = 0
    draft_layers = verify_layers = 0.0
    for reference in bench.references.references:
        emitted, session = bench.emitted(strategy, reference.request)
        drafted += sum(each.drafted or 0 for each in emitted)
        draft_layers += sum(each.draft_layers or 0 for each in emitted)
        verify_layers += sum(each.verify_layers or 0 for each in emitted)
        filled += session.tally.filled
    assert found.drafted == drafted
    assert found.effort.layers == pytest.approx(draft_layers)
    assert found.effort.filled == pytest.approx(filled)
    # Attention and MLP weigh alike nowhere; the resumed ones of these drafts are whole layers but once.
    whole = found.resumed_attention == found.resumed_mlp
    verified = LAYERS * (drafted + found.passes) - found.resumed_attention
    assert not whole or verified == pytest.approx(verify_layers)


@pytest.mark.parametrize(
    "text",
    [
        "autoregressive",
        "static_exit:exit_layer=2",
        "static_exit:exit_layer=4,kv_fill=propagate",
        "dynamic_exit:threshold=0.1,min_layer=1",
        "dynamic_exit:threshold=0.1,min_layer=1,kv_fill=propagate",
        "dynamic_exit:threshold=0.1,min_layer=1,kv_fill=mask",
        "dynamic_exit:threshold=0.3,threshold_decay=0.1,min_layer=2",
        "dynamic_exit:confidence=patience,min_layer=1",
        "dynamic_exit:confidence=hidden_cosine,threshold=0.9,min_layer=1,kv_fill=propagate",
        "dynamic_skip:max_skip_ratio=0.5",
        "dynamic_skip:max_skip_ratio=0.5,kv_fill=recompute",
        "dynamic_skip:max_skip_ratio=0.5,granularity=layer,rungs=2,kv_fill=recompute",
        "dynamic_skip:max_skip_ratio=0.6,difficulty=early_cosine,rungs=2,kv_fill=recompute",
        "dynamic_skip:max_skip_ratio=0.5,difficulty=early_cosine,kv_fill=mask",
        "dynamic_skip:max_skip_ratio=0.5,difficulty=prompt_perplexity",
        "dynamic_skip:skip_set=[4.attention,5.mlp],thresholds=[2]",
        "dynamic_skip:skip_set=[2,3],granularity=layer,thresholds=[2],kv_fill=mask",
    ],
)
def test_what_is_not_verified_agrees_as_often_and_runs_as_much_as_when_it_is_scored(
    bench: Bench, text: str
) -> None:
    strategy = bench.strategy(text)
    found = judged(bench, strategy)
    layers = 0.0
    counts = dict.fromkeys(("checks", "spare_heads", "filled", "older_rows", "own_passes", "ridden"), 0)
    for reference, agreement in zip(bench.references.references, found.agreement, strict=True):
        session = Session(bench.stack, capacity=64)
        window = ScoreWindow(context=reference.request.prompt_tokens, continuation=reference.tokens)
        scored = strategy.score(session, window)
        right = sum(a == b for a, b in zip(scored.choices, reference.tokens, strict=True))
        assert (agreement.agreed, agreement.compared) == (right, len(reference.tokens))
        assert scored.depth is not None
        layers += sum(scored.depth[1:])
        for name in counts:
            counts[name] += getattr(session.tally, name)
    assert found.effort.layers == pytest.approx(layers)
    assert {name: getattr(found.effort, name) for name in counts} == counts
    assert found.mean_layers == pytest.approx(layers / bench.references.decoded)
    assert found.drafted is None
    assert found.acceptance_rate is None


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gemma2", "gpt_neox", "qwen3", "olmo2", "phi"])
def test_other_blocks_are_judged_alike(family: str) -> None:
    bench = bench_of(made_family(family, vocab_size=350).stack)
    last = bench.stack.num_layers
    for draft in (
        f"static_exit,draft.exit_layer={last - 1}",
        f"dynamic_skip,draft.skip_set=[{last}.attention],draft.thresholds=[2]",
        "dynamic_skip,draft.max_skip_ratio=0.4,draft.kv_fill=mask",
        "dynamic_exit,draft.threshold=0.2,draft.min_layer=1,draft.kv_fill=propagate",
    ):
        strategy = bench.strategy(f"self_speculative:draft={draft},num_speculations=3")
        assert judged(bench, strategy).cycles == really_taken(bench, strategy)
    lossy = bench.strategy(f"dynamic_skip:skip_set=[{last - 1}.mlp,{last}.attention],thresholds=[2]")
    for reference, agreement in zip(bench.references.references, judged(bench, lossy).agreement, strict=True):
        window = ScoreWindow(context=reference.request.prompt_tokens, continuation=reference.tokens)
        choices = lossy.score(Session(bench.stack, capacity=64), window).choices
        assert agreement.agreed == sum(a == b for a, b in zip(choices, reference.tokens, strict=True))


@pytest.fixture
def rows_drafted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens were drafted in each pass."""
    passes: list[int] = []

    def counted(walk: Walk, rows, *given):
        passes.append(len(rows))
        return step(walk, rows, *given)

    step = Walk.step
    monkeypatch.setattr(Walk, "step", counted)
    return passes


LADDER = "self_speculative:draft=dynamic_skip,draft.max_skip_ratio=0.1,num_speculations={}"


def test_what_a_draft_proposes_serves_every_number_of_speculations_and_every_confidence(
    bench: Bench, rows_drafted: list[int]
) -> None:
    judge, places = Judge(bench.references, COSTS), bench.references.decoded
    for options in ("6", "1", "3,draft_stop=0.2", "5,adaptive=true"):
        text = f"self_speculative:draft=static_exit,draft.exit_layer=3,num_speculations={options}"
        assert isinstance(judge.judge(bench.strategy(text)), Judgement)
    assert sum(rows_drafted) == places
    rows_drafted.clear()
    judge.judge(bench.strategy(LADDER.format(6)))
    drafted = sum(rows_drafted)
    for options in ("6", "6,draft_stop=0.0001", "6,adaptive=true"):
        judge.judge(bench.strategy(LADDER.format(options)))
    assert sum(rows_drafted) < 1.5 * drafted
    other = "self_speculative:draft=static_exit,draft.exit_layer=4,num_speculations=2"
    rows_drafted.clear()
    judge.judge(bench.strategy(other))
    assert sum(rows_drafted) == places


def test_a_draft_is_run_about_once_a_token_and_judged_alike_whatever_was_judged_before(
    bench: Bench, rows_drafted: list[int]
) -> None:
    text = LADDER.format(5)
    fresh = judged(bench, bench.strategy(text))
    first = sum(rows_drafted)
    judge = Judge(bench.references, COSTS)
    for earlier in (LADDER.format(2).replace("0.1", "0.12"), LADDER.format(4)):
        judge.judge(bench.strategy(earlier))
    rows_drafted.clear()
    found = judge.judge(bench.strategy(text))
    assert isinstance(found, Judgement)
    assert sum(rows_drafted) <= first
    assert replace(found, seconds=0.0, effort=fresh.effort) == replace(fresh, seconds=0.0)
    assert vars(found.effort) == pytest.approx(vars(fresh.effort))
    # Whatever is guessed, no more than twice what drafting itself runs until it errs.
    once = sum(min(taken + 1, 5) for each in fresh.cycles for taken in each)
    assert first <= 2 * once


def test_an_adaptive_draft_goes_by_the_costs_and_is_judged_alike_every_time(bench: Bench) -> None:
    text = "self_speculative:draft=static_exit,draft.exit_layer=1,num_speculations=6"
    fixed = judged(bench, bench.strategy(text))
    adaptive = [judged(bench, bench.strategy(f"{text},adaptive=true")) for _ in range(2)]
    assert adaptive[0].cycles == adaptive[1].cycles
    assert fixed.drafted
    assert fixed.acceptance_rate
    assert adaptive[0].drafted
    assert adaptive[0].acceptance_rate
    # One layer of six is seldom right here, so that fewer are worth drafting.
    assert adaptive[0].drafted < fixed.drafted
    assert adaptive[0].acceptance_rate > fixed.acceptance_rate


def test_a_plugin_that_copies_from_the_text_is_judged_without_the_model(
    bench: Bench, register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    from lsbench_prompt_lookup import PromptLookup

    register("prompt_lookup", PromptLookup)
    repeated = bench_of(bench.stack, [(5, 6, 7, 8) * 3, (118, 293, 203, 80, 293)])
    strategy = repeated.strategy("prompt_lookup:num_speculations=3,min_ngram=1")
    found = judged(repeated, strategy)
    assert found.cycles == really_taken(repeated, strategy)
    assert found.drafted == sum(
        each.drafted or 0
        for reference in repeated.references.references
        for each in repeated.emitted(strategy, reference.request)[0]
    )
    assert found.drafted
    assert found.effort.layers == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hf_generate", "loop of its own"),
        ("self_speculative:draft=static_exit,draft.exit_layer=online", "learns from what the full model"),
        ("self_speculative:draft=dynamic_skip,draft.skip_set=online", "learns from what the full model"),
    ],
)
def test_what_only_timing_can_tell_is_said_so(bench: Bench, text: str, reason: str) -> None:
    found = Judge(bench.references, COSTS).judge(bench.strategy(text))
    assert isinstance(found, Unjudged)
    assert reason in found.reason


def test_a_draft_that_asks_its_session_for_more_than_the_text_is_not_judged(bench: Bench, register) -> None:
    from lsbench.strategy import Draft, Drafted, speculate

    class Peeking(Draft):
        def propose(self, session, last, count, sampler):
            yield Drafted(int(session.previous_logits().argmin()))

    class Peek(Strategy):
        def generate(self, session, request):
            return speculate(session, request, Peeking(), 2)

        def policy(self, request):
            raise NotImplementedError

    register("peek", Peek)
    found = Judge(bench.references, COSTS).judge(bench.strategy("peek"))
    assert isinstance(found, Unjudged)
    assert "'previous_logits'" in found.reason


def test_nothing_is_drafted_after_an_end_of_the_text(bench: Bench) -> None:
    output = bench.references.references[0].tokens
    ends = bench_of(bench.stack, stop_token_ids=(output[7], output[12]))
    assert any(len(each.tokens) < 40 for each in ends.references.references)
    strategy = ends.strategy("self_speculative:draft=static_exit,draft.exit_layer=5,num_speculations=5")
    found = judged(ends, strategy)
    for reference, ours in zip(ends.references.references, found.cycles, strict=True):
        theirs = taken_per_cycle(ends.emitted(strategy, reference.request)[0])
        # The loop itself goes on after an end; who calls it stops there.
        assert ours[:-1] == theirs[: len(ours) - 1]
        assert ours[-1] <= theirs[len(ours) - 1]
