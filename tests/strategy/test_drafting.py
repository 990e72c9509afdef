"""The draft-and-verify loop: what it runs, what it emits, and what any author's draft may do."""

import pytest
import torch

from lsbench.engine import ConstantPolicy, DecoderStack, DepthPlan, DepthPolicy, Session
from lsbench.spec import Sampling
from lsbench.strategy import (
    Draft,
    HiddenStates,
    PolicyDraft,
    Verification,
    draft_cost,
    speculate,
)
from support.drafting import FULL, LAYERS, PROMPT, Clockwork, Costly, Told, request_for, tokens_of


@pytest.fixture
def rows(stack: DecoderStack, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows that ran each layer's MLP since the list was last set to zero."""
    counts = [0] * LAYERS
    for layer, block in enumerate(stack.blocks):

        def counted(hidden, *entering, layer=layer, run_mlp=block.run_mlp):
            counts[layer] += hidden.shape[0]
            return run_mlp(hidden, *entering)

        monkeypatch.setattr(block, "run_mlp", counted)
    return counts


class TestEmission:
    def test_a_right_draft_is_taken_whole_and_the_model_adds_one(self, stack, greedy) -> None:
        emitted = list(speculate(Session(stack), request_for(12), Told(greedy), 4))
        assert tokens_of(emitted) == greedy[:12]
        assert [(e.kind, len(e.tokens), e.drafted) for e in emitted] == [
            ("decoded", 1, None),
            ("accepted", 4, 4),
            ("verified", 1, None),
            ("accepted", 4, 4),
            ("verified", 1, None),
            ("verified", 1, 0),
        ]
        assert {depth for e in emitted for depth in e.depth or ()} == {6.0}

    def test_a_wrong_draft_counts_as_drafted(self, stack, greedy) -> None:
        wrong = [(token + 1) % 61 for token in greedy]
        emitted = list(speculate(Session(stack), request_for(6), Told(wrong), 3))
        assert tokens_of(emitted) == greedy[:6]
        assert [(e.kind, e.drafted) for e in emitted] == [
            ("decoded", None),
            ("verified", 3),
            ("verified", 3),
            ("verified", 2),
            ("verified", 1),
            ("verified", 0),
        ]

    def test_a_draft_wrong_in_the_middle_is_taken_up_to_there(self, stack, greedy) -> None:
        bent = [*greedy[:3], (greedy[3] + 1) % 61, *greedy[4:]]
        emitted = list(speculate(Session(stack), request_for(9), Told(bent), 4))
        assert tokens_of(emitted) == greedy[:9]
        assert [(e.kind, e.tokens, e.drafted) for e in emitted[1:3]] == [
            ("accepted", tuple(greedy[1:3]), 4),
            ("verified", (greedy[3],), None),
        ]

    def test_nothing_is_drafted_that_the_limit_would_cut_off(self, stack, greedy) -> None:
        told = Told(greedy)
        for count in (1, 2, 3, 4, 5, 6, 7):
            told.asked.clear()
            assert tokens_of(list(speculate(Session(stack), request_for(count), told, 4))) == greedy[:count]
            assert sum(told.asked) + len(told.asked) <= count - 1
        assert list(speculate(Session(stack), request_for(0), told, 4)) == []

    def test_nothing_is_drafted_after_an_end(self, stack, greedy) -> None:
        end = next(token for token in greedy[1:] if token != greedy[0])
        place = greedy.index(end)
        emissions = speculate(
            Session(stack), request_for(20, stop_token_ids=(end,)), Told(greedy), max(place + 3, 4)
        )
        next(emissions)
        block = next(emissions)
        assert block.kind == "accepted"
        assert block.tokens == tuple(greedy[1 : place + 1])
        assert block.drafted == place

    def test_a_draft_that_gives_less_than_it_was_asked_for_or_nothing(self, stack, greedy) -> None:
        emitted = list(speculate(Session(stack), request_for(10), Told(greedy[:4]), 4))
        assert tokens_of(emitted) == greedy[:10]
        assert [e.drafted for e in emitted if e.drafted is not None] == [3, 0, 0, 0, 0, 0]

    def test_a_draft_that_is_not_defined_says_so(self, stack) -> None:
        with pytest.raises(NotImplementedError, match="does not define propose"):
            list(speculate(Session(stack), request_for(4), Draft(), 2))


class TestResuming:
    def test_an_exit_is_resumed_where_it_stopped(self, stack, rows) -> None:
        """Above the exit K + 1 rows, at and below it the one row that the draft never ran."""
        draft = PolicyDraft(ConstantPolicy(DepthPlan.exit_at(LAYERS, 2, "mask")))
        emissions = speculate(Session(stack), request_for(30), draft, 3)
        next(emissions)
        for _ in range(3):
            rows[:] = [0] * LAYERS
            emission = next(emissions)
            assert rows == [3 + 1, 3 + 1, 4, 4, 4, 4]
            if emission.kind == "accepted":
                next(emissions)

    @pytest.mark.parametrize("fill", ["recompute", "propagate", "mask"])
    def test_a_skip_set_is_resumed_at_the_first_layer_it_skips(self, stack, rows, fill) -> None:
        plan = DepthPlan.skipping(LAYERS, (6, 7, 9), fill)
        emissions = speculate(Session(stack), request_for(30), PolicyDraft(ConstantPolicy(plan)), 3)
        next(emissions)
        for _ in range(3):
            rows[:] = [0] * LAYERS
            emission = next(emissions)
            # Layers 1..3 ran once for each token; from layer 4, skipped, verifying runs all four.
            assert rows == [4, 4, 4, 4, 4, 7]
            if emission.kind == "accepted":
                next(emissions)

    def test_what_the_draft_ran_in_full_is_not_run_again(self, stack, rows, greedy) -> None:
        emitted = []
        for emission in speculate(Session(stack), request_for(25), PolicyDraft(FULL), 3):
            emitted.append(emission)
            if emission.kind == "accepted":
                assert rows == [4] * LAYERS
            rows[:] = [0] * LAYERS
        assert tokens_of(emitted) == greedy[:25]
        assert sum(e.drafted or 0 for e in emitted) == sum(
            len(e.tokens) for e in emitted if e.kind == "accepted"
        )

    def test_a_session_left_alone_verifies_from_the_bottom(self, stack, rows, greedy) -> None:
        emissions = speculate(Session(stack), request_for(12), Told(greedy), 4)
        next(emissions)
        rows[:] = [0] * LAYERS
        next(emissions)
        assert rows == [5] * LAYERS


class Alternating(DepthPolicy):
    """Depths in turn: some tokens exit early, then one goes deeper and takes them along."""

    def __init__(self, plans: list[DepthPlan]) -> None:
        self.plans = plans

    def plan(self, context) -> DepthPlan:
        return self.plans[context.position % len(self.plans)]


DEPTHS = [
    *((2, 6), (2, 2, 6), (3, 6, 1, 6, 6)),
    *(pytest.param(depths, marks=pytest.mark.slow) for depths in ((6, 2), (6, 6, 3), (1, 4), (5, 3, 6))),
]


@pytest.mark.parametrize("fill", ["recompute", "propagate", "mask"])
@pytest.mark.parametrize("depths", DEPTHS)
def test_depths_that_differ_from_token_to_token_change_nothing(stack, greedy, fill, depths) -> None:
    """A position that rode along to full depth is exact, but was predicted from before it was."""
    plans = [DepthPlan.exit_at(LAYERS, depth, fill) for depth in depths]
    for count in (1, 3):
        session = Session(stack)
        emitted = list(speculate(session, request_for(24), PolicyDraft(Alternating(plans)), count))
        assert tokens_of(emitted) == greedy[:24]
        assert session.exact_lengths == session.lengths == (len(PROMPT) + 23,)


@pytest.mark.parametrize("depths", DEPTHS)
@pytest.mark.parametrize("count", [1, 3, 5])
def test_every_position_runs_every_layer_once_wherever_it_rode_along(stack, rows, depths, count) -> None:
    """In its own step, in a later one of the draft, or in the verifying pass; and all of it is counted."""
    plans = [DepthPlan.exit_at(LAYERS, depth, "recompute") for depth in depths]
    session = Session(stack)
    emissions = speculate(session, request_for(30), PolicyDraft(Alternating(plans)), count)
    next(emissions)
    older = 0
    rows[:] = [0] * LAYERS
    for emission in emissions:
        if emission.drafted is None:
            continue
        assert rows == [emission.drafted + 1] * LAYERS
        rode = (session.tally.older_rows - older) / 2
        assert (emission.draft_layers or 0) + rode + (emission.verify_layers or 0) == sum(rows)
        older = session.tally.older_rows
        rows[:] = [0] * LAYERS


class TestStopping:
    def test_a_token_below_the_confidence_is_the_last_of_its_cycle(self, stack, greedy) -> None:
        policy = ConstantPolicy(DepthPlan.exit_at(LAYERS, 3))
        probabilities: list[list[float]] = []

        class Watched(PolicyDraft):
            def propose(self, session, last, count, sampler):
                cycle: list[float] = []
                probabilities.append(cycle)
                for drafted in super().propose(session, last, count, sampler):
                    logits = session.previous_logits()
                    cycle.append(float(torch.softmax(logits, -1)[drafted.token]))
                    yield drafted

        emitted = list(speculate(Session(stack), request_for(60), Watched(policy, 0.5), 6))
        assert tokens_of(emitted) == greedy[:60]
        lengths = [len(cycle) for cycle in probabilities]
        assert min(lengths) < 6
        for cycle in probabilities[:-6]:
            assert all(value >= 0.5 for value in cycle[:-1])
            assert cycle[-1] < 0.5 or len(cycle) == 6

    def test_zero_never_stops(self, stack) -> None:
        draft = PolicyDraft(ConstantPolicy(DepthPlan.exit_at(LAYERS, 3)), 0.0)
        emitted = list(speculate(Session(stack), request_for(20), draft, 3))
        assert all(e.drafted == 3 for e in emitted[1:6] if e.drafted is not None)


class TestSampling:
    drawn = Sampling(temperature=0.9, top_p=0.95, top_k=30)

    @pytest.mark.parametrize("adaptive", [False, True])
    def test_a_seed_gives_the_same_output_every_time(self, stack, adaptive: bool) -> None:
        """Adaptively too: cost is then counted, not timed."""
        policy = ConstantPolicy(DepthPlan.exit_at(LAYERS, 4))
        made = [
            list(
                speculate(
                    Session(stack),
                    request_for(60, sampling=self.drawn, seed=seed),
                    PolicyDraft(policy),
                    5,
                    adaptive,
                )
            )
            for seed in (1, 1, 2)
        ]
        assert made[0] == made[1]
        assert tokens_of(made[0]) != tokens_of(made[2])

    def test_a_draft_that_is_the_full_model_is_always_taken(self, stack) -> None:
        emitted = list(speculate(Session(stack), request_for(31, sampling=self.drawn), PolicyDraft(FULL), 4))
        assert [e.drafted for e in emitted if e.drafted is not None] == [4] * 6
        assert sum(len(e.tokens) for e in emitted if e.kind == "accepted") == 24


def test_a_drafts_wish_for_the_prompts_perplexity_is_met(stack: DecoderStack) -> None:
    class Curious(DepthPolicy):
        needs_prompt_perplexity = True
        seen: float | None = None

        def plan(self, context):
            Curious.seen = context.prompt_perplexity
            return DepthPlan.exit_at(LAYERS, 3)

    list(speculate(Session(stack), request_for(5), PolicyDraft(Curious()), 2))
    assert isinstance(Curious.seen, float)
    assert Curious.seen > 1


class Learning(PolicyDraft):
    """Exits where it is told, and remembers what came of it."""

    def __init__(self, exit_layer: int) -> None:
        super().__init__(ConstantPolicy(DepthPlan.exit_at(LAYERS, exit_layer, "mask")))
        self.observer = self.states = HiddenStates(LAYERS)
        self.told: list[Verification] = []
        self.known: list[bool] = []

    def learn(self, session, verification) -> None:
        assert session.lengths == session.exact_lengths == (verification.positions[-1] + 1,)
        self.told.append(verification)
        last = 2 * LAYERS - 1
        self.known += [self.states.leaving(last, place) is not None for place in verification.positions]
        self.states.forget()


class TestLearning:
    @pytest.mark.parametrize("exit_layer", [3, LAYERS])
    def test_it_is_told_what_came_of_every_cycle_but_the_last(self, stack, greedy, exit_layer: int) -> None:
        draft = Learning(exit_layer)
        emitted = list(speculate(Session(stack), request_for(24), draft, 3))
        assert tokens_of(emitted) == greedy[:24]
        cycles = [
            (e.drafted, len(e.tokens) if e.kind == "accepted" else 0)
            for e in emitted
            if e.drafted is not None
        ]
        assert [(len(v.drafted), v.taken) for v in draft.told] == cycles[:-1]
        assert all(draft.known)
        place = 0
        for verification in draft.told:
            assert verification.first == len(PROMPT) + place
            took = [proposed.token for proposed in verification.drafted[: verification.taken]]
            assert [*took, verification.following] == greedy[place + 1 : place + verification.taken + 2]
            for position in verification.positions:
                logits = verification.logits_after(position)
                if exit_layer < LAYERS or position == verification.first + 3:
                    assert int(logits.argmax()) == greedy[position - len(PROMPT) + 1]
                else:
                    assert logits is None, "the draft has run the full model itself"
            place += verification.taken + 1

    @pytest.mark.parametrize("depths", [(2, 6), (2, 4, 6), (5, 1, 6, 3)])
    def test_it_hears_of_every_layer_where_depths_differ(self, stack, greedy, depths) -> None:
        """What rode along to full depth is not run again, so it is heard of when it rides."""
        expected = HiddenStates(LAYERS)
        tokens = torch.tensor([[*PROMPT, *greedy[:40]]])
        Session(stack).verify(tokens, expected)

        class Comparing(Learning):
            def learn(self, session, verification) -> None:
                cosines = self.states.cosines(verification.positions)
                full = expected.cosines(verification.positions)
                assert cosines == pytest.approx(full, abs=1e-9), "and none is nan"
                super().learn(session, verification)

        draft = Comparing(1)
        draft.policy = Alternating([DepthPlan.exit_at(LAYERS, depth) for depth in depths])
        emitted = list(speculate(Session(stack), request_for(40), draft, 4))
        assert tokens_of(emitted) == greedy[:40]
        assert all(draft.known)
        assert draft.told

    def test_costs_are_seconds_greedily_and_weights_when_drawing(self, stack, monkeypatch) -> None:
        monkeypatch.setattr(draft_cost, "Clock", Clockwork)
        Clockwork.now = 0.0
        head = stack.head_product.weight_bytes * LAYERS / sum(stack.sublayer_bytes)
        for sampling in (Sampling(), Sampling(temperature=0.8)):
            draft = Learning(2)
            list(speculate(Costly(stack), request_for(12, sampling=sampling), draft, 3))
            for verification in draft.told:
                drafted = len(verification.drafted)
                expected = (0.0, 1 + 0.04 * drafted)
                if not sampling.greedy:
                    expected = (drafted * (2 + head), LAYERS + head)
                costs = verification.draft_cost, verification.verify_cost
                assert costs == pytest.approx(expected)

    def test_one_that_learns_runs_no_more_than_one_that_does_not(self, stack, rows) -> None:
        counts = []
        for draft in (Learning(2), PolicyDraft(ConstantPolicy(DepthPlan.exit_at(LAYERS, 2, "mask")))):
            rows[:] = [0] * LAYERS
            list(speculate(Session(stack), request_for(20), draft, 3))
            counts.append(list(rows))
        assert counts[0] == counts[1]
