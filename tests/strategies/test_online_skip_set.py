"""draft.skip_set=online: what is left out follows the text, and nothing more is run for it."""

from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest
import torch

from lsbench.engine import DecoderStack, Session, block_influence
from lsbench.engine.linear import Linear
from lsbench.spec import Sampling
from lsbench.strategy import HiddenStates, Preparation
from lsbench.strategy.conformance import check_strategy, random_bench
from lsbench_strategies import online_skip_set
from lsbench_strategies.online_skip_set import OnlineSkipSetDraft, RunningInfluence
from support.models import random_llama

LAYERS = 8
IDLE = (2, 4, 5, 7)
"""Layers that barely matter."""
DRAFT = "self_speculative:draft=dynamic_skip,draft.thresholds=[2],draft.max_skip_ratio=0.5"
ONLINE = f"{DRAFT},draft.skip_set=online"
WARM_UP = 40
"""Tokens by which it must have found its way."""
DRAWN = Sampling(temperature=0.8)


class Misled(Preparation):
    """Calibrated on the very opposite of the truth: what matters least is believed to matter most."""

    @cached_property
    def influence(self) -> np.ndarray:
        truth = block_influence(self.stack, self.calibration_prompts)
        result = np.empty_like(truth)
        result[truth.argsort()] = np.sort(truth)[::-1]
        return result


@pytest.fixture(scope="module")
def stack() -> DecoderStack:
    model = random_llama(
        4, vocab_size=61, intermediate_size=80, num_hidden_layers=LAYERS, max_position_embeddings=256
    ).double()
    for layer in IDLE:
        model.model.layers[layer - 1].self_attn.o_proj.weight.data *= 1e-3
        model.model.layers[layer - 1].mlp.down_proj.weight.data *= 1e-3
    return DecoderStack(model)


PROMPTS = tuple(map(tuple, torch.randint(61, (4, 30), generator=torch.Generator().manual_seed(9)).tolist()))


@pytest.fixture(scope="module")
def misled(stack: DecoderStack, make_bench):
    return make_bench(stack, Misled(stack, PROMPTS))


@pytest.fixture(scope="module")
def well_prepared(stack: DecoderStack, make_bench):
    return make_bench(stack, Preparation(stack, PROMPTS))


def acceptance(run, after: int = 0) -> float:
    """Share of the drafted tokens that were taken, in cycles that begin after so many tokens."""
    seen = drafted = taken = 0
    counted = False
    for emission in run.emitted[1:]:
        if emission.drafted is not None:
            counted = seen >= after
        seen += len(emission.tokens)
        if counted:
            drafted += emission.drafted or 0
            taken += len(emission.tokens) if emission.kind == "accepted" else 0
    return taken / drafted


class TestAdapting:
    @pytest.mark.parametrize("granularity", ["layer", pytest.param("sublayer", marks=pytest.mark.slow)])
    @pytest.mark.parametrize("fill", ["propagate", pytest.param("recompute", marks=pytest.mark.slow)])
    def test_from_a_bad_beginning_it_comes_to_the_best_set(self, misled, granularity, fill) -> None:
        options = f",draft.granularity={granularity},draft.kv_fill={fill}"
        best = f"{DRAFT},draft.skip_set=[{','.join(map(str, IDLE))}],draft.kv_fill={fill}"
        if granularity == "sublayer":
            items = [f"{layer}.{part}" for layer in IDLE for part in ("attention", "mlp")]
            best = f"{DRAFT},draft.skip_set=[{','.join(items)}],draft.kv_fill={fill}"
        online = misled.run(f"{ONLINE}{options}", count=90)
        assert acceptance(misled.run(f"{DRAFT}{options}", count=60)) < 0.1, "what it starts from"
        assert acceptance(online, WARM_UP) >= 0.99 * acceptance(misled.run(best, count=90), WARM_UP)
        assert online.tokens == misled.run("autoregressive", count=90).tokens

    def test_the_layers_that_barely_matter_are_what_it_leaves_out(self, misled, monkeypatch) -> None:
        made: list[OnlineSkipSetDraft] = []
        learn = OnlineSkipSetDraft.learn

        def noted(self, session, verification) -> None:
            learn(self, session, verification)
            made.append(self)

        monkeypatch.setattr(OnlineSkipSetDraft, "learn", noted)
        misled.run(f"{ONLINE},draft.granularity=layer", count=WARM_UP)
        left_out = {j // 2 + 1 for j, runs in enumerate(made[-1].policy.plans[-1].run) if not runs}
        assert left_out == set(IDLE)

    def test_what_it_learns_is_block_influence_on_the_text(self, misled, monkeypatch) -> None:
        monkeypatch.setattr(online_skip_set, "_FORGETTING", 1.0)
        monkeypatch.setattr(online_skip_set, "_PRIOR_POSITIONS", 1e-9)
        made: list[OnlineSkipSetDraft] = []
        learn = OnlineSkipSetDraft.learn

        def noted(self, session, verification) -> None:
            learn(self, session, verification)
            made.append(self)
            seen.extend(verification.positions)

        seen: list[int] = []
        monkeypatch.setattr(OnlineSkipSetDraft, "learn", noted)
        run = misled.run(ONLINE, count=30)
        assert seen == list(range(seen[0], seen[-1] + 1)), "every position that stayed, once"
        states, session = HiddenStates(LAYERS), Session(misled.stack)
        tokens = torch.tensor([[*run.request.prompt_tokens, *run.tokens]])
        session.prefill(tokens[:, : seen[0]])
        session.verify(tokens[:, seen[0] : seen[-1] + 1], states)
        expected = 1 - states.cosines(seen)
        assert np.allclose(made[-1].influence.mean, expected.mean(axis=0), atol=1e-6)


class TestCost:
    def test_it_runs_the_same_products_as_a_fixed_set(self, well_prepared, monkeypatch) -> None:
        """Where calibration was right, what is left out stays the same, and so does all that is run."""
        products: list[tuple[int, ...]] = []
        forward, rows = Linear.forward, Linear.rows

        def whole(self, x):
            products.append((*x.shape, self.out_features))
            return forward(self, x)

        def part(self, x, start):
            products.append((*x.shape, self.out_features - start))
            return rows(self, x, start)

        monkeypatch.setattr(Linear, "forward", whole)
        monkeypatch.setattr(Linear, "rows", part)
        seen = []
        for skip_set in ("auto", "online"):
            text = f"{DRAFT},draft.granularity=layer,draft.rungs=1,draft.skip_set={skip_set}"
            text = text.replace(",draft.thresholds=[2]", "")
            strategy = well_prepared.make(text)
            products.clear()
            seen.append((well_prepared.run(strategy, count=40).emitted, list(products)))
        assert seen[0] == seen[1]
        assert len(products) > 100


class TestReproducing:
    def test_a_seed_gives_the_same_again(self, misled) -> None:
        one, other = (misled.run(ONLINE, count=40, sampling=DRAWN, seed=5) for _ in range(2))
        assert one.emitted == other.emitted

    @pytest.mark.slow
    @pytest.mark.parametrize("options", [",adaptive=true", ",draft_stop=0.4", ",num_speculations=1"])
    def test_it_goes_with_what_else_there_is(self, misled, options: str) -> None:
        expected = misled.run("autoregressive", count=60).tokens
        run = misled.run(f"{ONLINE}{options}", count=60)
        assert run.tokens == expected
        assert [e.drafted for e in run.emitted] != [e.drafted for e in misled.run(ONLINE, count=60).emitted]


def test_influence_begins_with_calibration_and_forgets_it() -> None:
    influence = RunningInfluence([0.5, 0.1])
    assert influence.mean.tolist() == [0.5, 0.1]
    for _ in range(3):
        influence.add(np.array([[0.9, np.nan]]))
    assert 0.1 < influence.mean[0] < 0.4
    assert influence.mean[1] == 0.1, "nothing was seen of it"
    influence.add(np.full((200, 2), 0.8))
    assert np.allclose(influence.mean, 0.2, atol=1e-3)


def test_alone_it_is_refused(refusal) -> None:
    message = refusal("dynamic_skip:skip_set=online")
    assert "only a draft can have it: self_speculative:draft=dynamic_skip,draft.skip_set=online" in message


def test_a_draft_of_it_is_held_to_what_else_holds(refusal) -> None:
    assert "its draft is refused" in refusal("self_speculative:draft.skip_set=online,draft.rungs=13")


@pytest.mark.slow
def test_the_conformance_kit_passes() -> None:
    whole = random_bench()
    small = replace(whole, prompts=whole.prompts[:7], max_new_tokens=16, draws=200)
    report = check_strategy("self_speculative:draft.skip_set=online,draft.max_skip_ratio=0.4", small)
    assert report.ok, report
