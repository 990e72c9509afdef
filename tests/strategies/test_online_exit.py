"""draft.exit_layer=online: exit and number of tokens follow what is accepted, for a few rows of the head."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from lsbench.engine import ConstantPolicy, DecoderStack, DepthPlan, Session
from lsbench.spec import Sampling
from lsbench.strategy import Emitted, Preparation, draft_cost, drafting, speculate
from lsbench.strategy.conformance import check_strategy, random_bench
from lsbench_strategies import exit_choice, online_exit, static_exit
from lsbench_strategies.online_exit import candidate_exits
from support.models import random_llama

LAYERS = 12
ENOUGH = 4
"""The layers after it barely matter."""
ONLINE = "self_speculative:draft=static_exit,draft.exit_layer=online,num_speculations=6"
FIXED = "self_speculative:draft=static_exit,draft.exit_layer={},num_speculations={}"
WARM_UP = 40
"""Tokens by which it must have found its way."""
DRAWN = Sampling(temperature=0.8)
GREEDY_TOO = [
    pytest.param(DRAWN, id="drawn"),
    pytest.param(Sampling(), id="greedy", marks=pytest.mark.slow),
]


def llama(seed: int) -> Any:
    return random_llama(
        seed,
        vocab_size=61,
        intermediate_size=80,
        num_hidden_layers=LAYERS,
        max_position_embeddings=256,
    ).double()


@pytest.fixture(scope="module")
def stack() -> DecoderStack:
    """Twelve layers, of which the last eight add a thousandth of what they would."""
    model = llama(4)
    for layer in model.model.layers[ENOUGH:]:
        layer.self_attn.o_proj.weight.data *= 1e-3
        layer.mlp.down_proj.weight.data *= 1e-3
    return DecoderStack(model)


@pytest.fixture(scope="module")
def strange_stack() -> DecoderStack:
    """The last layer alone decides."""
    model = llama(5)
    model.model.layers[-1].mlp.down_proj.weight.data *= 50
    return DecoderStack(model)


@pytest.fixture(scope="module")
def bench(stack: DecoderStack, make_bench):
    return make_bench(stack, Preparation(stack, ((1, 2, 3, 4), (9, 8, 7))))


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs in weights under greedy decoding too, so that nothing rests on this machine's mood."""

    def cycle_cost(stack: DecoderStack, in_seconds: bool) -> draft_cost.CycleCost:
        return plain(stack, in_seconds=False)

    plain = draft_cost.cycle_cost
    monkeypatch.setattr(drafting, "cycle_cost", cycle_cost)


def tokens_per_cost(stack: DecoderStack, emitted: tuple[Emitted, ...], after: int = 0) -> float:
    """Tokens for the weights read, in layers, in the cycles that begin after so many tokens."""
    head = stack.head_product.weight_bytes * LAYERS / sum(stack.sublayer_bytes)
    seen = tokens = 0
    cost = 0.0
    counted = False
    for emission in emitted[1:]:
        if emission.drafted is not None:
            counted = seen >= after
            if counted:
                cost += (emission.draft_layers or 0) + emission.drafted * head + LAYERS + head
        seen += len(emission.tokens)
        tokens += len(emission.tokens) if counted else 0
    return tokens / cost


def worth(bench, text: str, sampling: Sampling) -> float:
    """What a strategy comes to once it had time to find its way."""
    return tokens_per_cost(bench.stack, bench.run(text, count=110, sampling=sampling).emitted, WARM_UP)


class TestCandidates:
    @pytest.mark.parametrize("layers", [1, 2, 3, 8, 9, 10, 12, 16, 22, 30, 32, 80])
    def test_there_are_at_most_eight_and_none_is_the_whole_model(self, layers: int) -> None:
        exits = candidate_exits(layers)
        assert len(exits) == min(8, max(layers - 1, 1))
        assert list(exits) == sorted(set(exits))
        assert layers == 1 or (exits[0] >= 1 and exits[-1] < layers)
        steps = [b - a for a, b in zip((0, *exits), (*exits, layers), strict=True)]
        assert max(steps) - min(steps) <= 1

    def test_of_few_layers_each_is_one(self) -> None:
        assert candidate_exits(6) == (1, 2, 3, 4, 5)
        assert candidate_exits(30) == (3, 7, 10, 13, 17, 20, 23, 27)


class TestAdapting:
    @pytest.mark.usefixtures("weighed")
    @pytest.mark.parametrize("sampling", GREEDY_TOO)
    def test_within_dozens_of_tokens_it_is_as_good_as_the_best_fixed_choice(self, bench, sampling) -> None:
        best = worth(bench, FIXED.format(ENOUGH, 6), sampling)
        assert worth(bench, ONLINE, sampling) >= 0.97 * best

    @pytest.mark.slow
    @pytest.mark.parametrize("sampling", GREEDY_TOO)
    def test_that_is_the_best_fixed_choice(self, bench, sampling) -> None:
        fixed = {
            (exit, count): worth(bench, FIXED.format(exit, count), sampling)
            for exit in (1, 3, ENOUGH, 5, 8)
            for count in (3, 6)
        }
        assert max(fixed, key=fixed.__getitem__) == (ENOUGH, 6)

    @pytest.mark.usefixtures("weighed")
    def test_it_begins_badly(self, bench) -> None:
        """Or there would be nothing to find."""
        first = next(e for e in bench.run(ONLINE, count=20).emitted if e.drafted is not None)
        assert (first.draft_layers or 0) / (first.drafted or 1) != ENOUGH

    @pytest.mark.slow
    def test_measured_in_seconds_it_finds_an_exit_that_suffices(self, bench) -> None:
        emitted = bench.run(ONLINE, count=110).emitted[-30:]
        told = [e for e in emitted if e.drafted]
        accepted = sum(len(e.tokens) for e in emitted if e.kind == "accepted")
        assert told
        assert accepted >= 0.8 * sum(e.drafted or 0 for e in told)
        assert all((e.draft_layers or 0) / (e.drafted or 1) < LAYERS for e in told)

    @pytest.mark.slow
    @pytest.mark.usefixtures("weighed")
    def test_where_no_exit_agrees_it_stops_drafting(self, make_bench, strange_stack) -> None:
        bench = make_bench(strange_stack, Preparation(strange_stack, ()))
        run = bench.run(ONLINE, count=70)
        assert run.tokens == bench.run("autoregressive", count=70).tokens
        drafted = [e.drafted for e in run.emitted if e.drafted is not None]
        assert sum(drafted[30:]) <= 0.2 * len(drafted[30:])


class TestCost:
    @pytest.mark.usefixtures("weighed")
    def test_it_costs_no_forward_pass_and_few_rows_of_the_head(self, bench, monkeypatch) -> None:
        """Replayed with the exits and numbers that it chose, a fixed draft runs the same rows, head aside."""
        chosen: list[tuple[int, int]] = []
        choose = exit_choice.ExitChoice.choose

        def noted(self, most: int) -> tuple[int, int]:
            chosen.append(choose(self, most))
            return chosen[-1]

        monkeypatch.setattr(exit_choice.ExitChoice, "choose", noted)
        counts = Counts(bench.stack, monkeypatch)
        online = bench.run(ONLINE, count=70)
        by_online = counts.take()

        class Replayed(drafting.PolicyDraft):
            def propose(self, session, last, count, sampler):
                exit, number = script.pop(0)
                self.policy = ConstantPolicy(DepthPlan.exit_at(LAYERS, candidate_exits(LAYERS)[exit]))
                yield from super().propose(session, last, number, sampler)

        script = list(chosen)
        request = online.request
        draft = Replayed(ConstantPolicy(DepthPlan.full(LAYERS)))
        emitted = tuple(speculate(Session(bench.stack), request, draft, 6))
        by_script = counts.take()
        assert emitted == online.emitted
        assert by_online.sublayers == by_script.sublayers
        looks = by_online.head_calls - by_script.head_calls
        cycles = sum(e.drafted is not None for e in online.emitted)
        assert 4 <= looks <= cycles
        assert by_online.head_rows - by_script.head_rows <= 8 * looks

    @pytest.mark.usefixtures("weighed")
    def test_the_looks_tell_what_the_exits_would_have_proposed(self, bench, monkeypatch) -> None:
        """What is read off hidden states is what each exit says after the same tokens, in a full pass."""
        seen: list[tuple[int, float]] = []
        record = exit_choice.ExitChoice.record

        def noted(self, exit: int, chance: float, tokens: float = 0.0) -> None:
            if tokens:
                seen.append((exit, chance))
            record(self, exit, chance, tokens or 1.0)

        looked: list[tuple[tuple[int, ...], int]] = []
        look = online_exit.OnlineExitDraft._look

        def watched(self, session, verification, used) -> bool:
            before = len(seen)
            looks = look(self, session, verification, used)
            positions = verification.positions
            position = positions[self._cycle % len(positions)]
            looked.append((session.tokens()[: position + 1], len(seen) - before))
            return looks

        monkeypatch.setattr(exit_choice.ExitChoice, "record", noted)
        monkeypatch.setattr(online_exit.OnlineExitDraft, "_look", watched)
        bench.run(ONLINE, count=60)
        told = iter(seen)
        exits = candidate_exits(LAYERS)
        compared = 0
        for tokens, number in looked:
            with torch.inference_mode():
                output = bench.stack.model(torch.tensor([tokens]), output_hidden_states=True)
                states = [hidden[0, -1] for hidden in output.hidden_states]
                expected = int(output.logits[0, -1].argmax())
                for exit, chance in (next(told) for _ in range(number)):
                    choice = int(bench.stack.head(states[exits[exit]][None])[0].argmax())
                    assert chance == float(choice == expected)
                    compared += 1
        assert compared > 20
        assert {chance for _, chance in seen} == {0.0, 1.0}

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
    def test_after_the_first_four_looks_take_their_share_and_no_more(self, bench, monkeypatch, share) -> None:
        looks: list[bool] = []
        spent: list[float] = []
        look = online_exit.OnlineExitDraft._look

        def watched(self, session, verification, used) -> bool:
            looks.append(look(self, session, verification, used))
            return looks[-1]

        class Watched(online_exit.OnlineExitDraft):
            def learn(self, session, verification) -> None:
                super().learn(session, verification)
                spent.append(verification.draft_cost + verification.verify_cost)

        monkeypatch.setattr(online_exit, "_SHARE", share)
        monkeypatch.setattr(online_exit.OnlineExitDraft, "_look", watched)
        monkeypatch.setattr(static_exit, "OnlineExitDraft", Watched)
        bench.run(ONLINE.replace("speculations=6", "speculations=1"), count=60, sampling=DRAWN)
        stack = bench.stack
        head = stack.head_product.weight_bytes * LAYERS / sum(stack.sublayer_bytes)
        most = 4 + share * sum(spent) / head + 1
        assert min(most - 3, len(spent) / 2) <= sum(looks) <= most


class Counts:
    """Rows of every sub-layer, and calls and rows of the head."""

    def __init__(self, stack: DecoderStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clear()
        for layer, block in enumerate(stack.blocks):
            for name in ("run_mlp", "project"):
                monkeypatch.setattr(block, name, self._counted((layer, name), getattr(block, name)))
        head = stack.head

        def counted(hidden: torch.Tensor) -> torch.Tensor:
            self.head_calls += 1
            self.head_rows += hidden.shape[0]
            return head(hidden)

        monkeypatch.setattr(stack, "head", counted)

    def _counted(self, key, function):
        def counted(hidden: torch.Tensor, *others):
            calls, rows = self.sublayers.get(key, (0, 0))
            self.sublayers[key] = calls + 1, rows + hidden.shape[0]
            return function(hidden, *others)

        return counted

    def _clear(self) -> None:
        self.sublayers: dict[tuple[int, str], tuple[int, int]] = {}
        self.head_calls = self.head_rows = 0

    def take(self) -> "Counts":
        taken = object.__new__(Counts)
        vars(taken).update(vars(self))
        self._clear()
        return taken


class TestReproducing:
    def test_a_seed_gives_the_same_again(self, bench) -> None:
        one, other = (bench.run(ONLINE, count=40, sampling=DRAWN, seed=5) for _ in range(2))
        assert one.emitted == other.emitted
        assert bench.run(ONLINE, count=40, sampling=DRAWN, seed=6).tokens != one.tokens

    @pytest.mark.slow
    def test_no_more_are_drafted_than_asked_for(self, bench) -> None:
        for most in (1, 3):
            text = ONLINE.replace("num_speculations=6", f"num_speculations={most}")
            emitted = bench.run(text, count=60, sampling=DRAWN).emitted
            assert max(e.drafted for e in emitted if e.drafted is not None) == most

    @pytest.mark.slow
    def test_draft_stop_ends_a_cycle(self, bench) -> None:
        plain = bench.run(ONLINE, count=60, sampling=DRAWN)
        stopped = bench.run(f"{ONLINE},draft_stop=0.5", count=60, sampling=DRAWN)

        def drafted(run) -> float:
            counts = [e.drafted for e in run.emitted if e.drafted is not None]
            return sum(counts) / len(counts)

        assert drafted(stopped) < drafted(plain)

    def test_in_a_model_of_one_layer_there_is_nothing_to_choose(self, make_bench) -> None:
        from lsbench.engine.random_model import random_stack

        stack = random_stack(num_layers=1)
        bench = make_bench(stack, Preparation(stack, ()))
        assert bench.run(ONLINE).tokens == bench.run("autoregressive").tokens


@pytest.mark.slow
@pytest.mark.usefixtures("weighed")
def test_the_conformance_kit_passes() -> None:
    whole = random_bench()
    small = replace(whole, prompts=whole.prompts[:7], max_new_tokens=16, draws=200)
    report = check_strategy("self_speculative:draft=static_exit,draft.exit_layer=online", small)
    assert report.ok, report
