"""In every family self_speculative samples from the full model's own distribution: whole sequences, tested.

The exact probability of every sequence of four tokens comes from enumerating all of them under transformers'
own forward pass, and drawn sequences are held against it by chi-square tests, in up to three rounds with
fresh seeds: only a round that leaves a doubt is followed by another, and a strategy is refuted where all
three do. Over all families and drafts together, chance alone would do that less than once in a million times
(66 x 0.02 x 0.0002 x 0.0002, and room for the approximation); seeds are fixed, so it is the same every time.

So few draws tell much because of where they are made: of some random prompts, the one at which the least
obvious fault of an acceptance rule (in place of a refused token, one is drawn from all of p) moves most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pytest
import torch

from lsbench.engine import DepthPlan, Session, probabilities
from lsbench.engine.families import supported_model_types
from lsbench.spec import Sampling, parse_strategy
from lsbench.strategy import Preparation, Strategy, acceptance
from lsbench.strategy.registry import resolve
from support.distribution import Output, exact_chances, p_value
from support.drawing import drawn_together
from support.families.models import VARIANTS, WINDOW, TinyFamily, made_family
from support.requests import generate_request
from support.wrong_rules import always, unweighted, whole_target

VOCABULARY = 6
LAYERS = 2
LENGTH = 4
PROMPT_LENGTH = 7
"""Longer than the window, where there is one: each drawn token lies beyond it."""
EXIT = "self_speculative:num_speculations=2,draft=static_exit,draft.exit_layer=1"
SKIP = (
    "self_speculative:num_speculations=2,draft=dynamic_skip,draft.skip_set=[2.mlp,2.attention],"
    "draft.thresholds=[0.5,1.1]"
)
DISTINCT = [name for name in VARIANTS if name != "mistral without a window"]
"""Without the one that is Llama by another name."""
ROUNDS = ((100, 0.02), (240, 2e-4), (240, 2e-4))
"""Draws of each round, and below which p-value it leaves a doubt; 0, of what cannot be drawn, leaves none."""
LEAST_WORTH = 0.15
"""What a draw must tell (``Spot.worth``). With as much, the first drafted token alone lets a round of 240
find the fault named above in 83 % of cases (on ten degrees of freedom); most families have 0.22 and more."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Spot:
    """Where a family's sequences are drawn.

    Attributes:
        sampling: its temperature makes some tokens likely and others not, however large the model's logits.
        worth: noncentrality per draw that the least obvious fault would give the statistic.
    """

    prompt: Output
    sampling: Sampling
    worth: float


@dataclass(frozen=True)
class Drawing:
    """A family's model of few tokens, and what is drawn from it."""

    family: TinyFamily

    @cached_property
    @torch.inference_mode()
    def spot(self) -> Spot:
        """The best of some random prompts."""
        generator = torch.Generator().manual_seed(1)
        prompts = torch.randint(0, VOCABULARY, (256, PROMPT_LENGTH), generator=generator)
        logits = self.family.outside(prompts, use_cache=False).logits[:, -1]
        sampling = Sampling(temperature=round(float(logits.std()) / 2, 3), top_p=0.9, top_k=3)
        likeliest = logits.argmax(-1, keepdim=True)
        session = Session(self.family.stack, batch=len(prompts), capacity=PROMPT_LENGTH + 1)
        session.prefill(prompts)
        drafted = session.forward(likeliest, DepthPlan.exit_at(LAYERS, 1)).logits[:, -1]
        following = self.family.outside(torch.cat([prompts, likeliest], dim=1), use_cache=False).logits[:, -1]
        target, draft = probabilities(following, sampling), probabilities(drafted, sampling)
        both = torch.minimum(target, draft)
        wrong = both + (1 - both.sum(-1, keepdim=True)) * target
        moved = torch.where(target > 0, (wrong - target) ** 2 / target, 0).sum(-1)
        worth = moved * probabilities(logits, sampling).max(-1).values
        best = int(worth.argmax())
        return Spot(tuple(prompts[best].tolist()), sampling, float(worth[best]))

    @cached_property
    def exact(self) -> dict[Output, float]:
        spot = self.spot
        return exact_chances(self.family.outside, VOCABULARY, spot.prompt, LENGTH, spot.sampling)

    def strategy(self, text: str) -> Strategy:
        strategy = resolve(parse_strategy(text))
        strategy.check(LAYERS)
        strategy.prepare(Preparation(self.family.stack, ((1, 2, 3, 4, 5, 0, 2, 4), (5, 4, 3, 3, 1))))
        return strategy

    def is_refuted(self, text: str, rounds: Sequence[tuple[int, float]] = ROUNDS) -> bool:
        """Whether each round leaves a doubt of the sequences that a strategy gives."""
        strategy, first = self.strategy(text), 0
        for count, doubtful in rounds:
            requests = [
                generate_request(self.spot.prompt, LENGTH, sampling=self.spot.sampling, seed=seed)
                for seed in range(first, first + count)
            ]
            drawn = drawn_together(self.family.stack, strategy.generate, requests)
            # Where all drafts are taken, or none, any rule passes.
            assert 0.1 < drawn.taken < 0.95 or acceptance.is_taken is always
            chance = p_value(drawn.outputs, self.exact, least_cells=2)
            if chance == 0 or chance >= doubtful:
                return chance == 0
            first += count
        return True


@lru_cache
def drawing(name: str) -> Drawing:
    return Drawing(made_family(name, vocab_size=VOCABULARY, num_hidden_layers=LAYERS))


def test_every_declared_type_is_drawn_from_beyond_its_window() -> None:
    assert {variant.model_type for variant in VARIANTS.values()} == set(supported_model_types())
    assert PROMPT_LENGTH > WINDOW
    windows = {name for name in VARIANTS if any(block.window for block in drawing(name).family.stack.blocks)}
    assert {"mistral", "gemma2", "gemma3_text", "phi3", "cohere2", "olmo3", "mixtral"} <= windows


@pytest.mark.parametrize("name", DISTINCT)
def test_whole_sequences_are_distributed_as_the_full_model_has_them(name: str) -> None:
    assert drawing(name).spot.worth >= LEAST_WORTH
    for text in (EXIT, SKIP):
        assert not drawing(name).is_refuted(text), text


@pytest.mark.parametrize("name", DISTINCT)
def test_a_rule_that_takes_every_draft_is_refuted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "is_taken", always)
    # Few draws do: it mostly gives what cannot be before long.
    assert drawing(name).is_refuted(EXIT, ((60, 0.02), *ROUNDS[1:]))


@pytest.mark.parametrize(
    ("name", "rule", "wrong"),
    [
        ("gemma2", "remainder", whole_target),
        ("mixtral", "remainder", whole_target),
        ("gpt_neox", "remainder", whole_target),
        ("phi", "remainder", whole_target),
        ("olmo", "is_taken", unweighted),
        ("phi3", "is_taken", unweighted),
    ],
)
def test_what_is_less_obvious_is_refuted_too(
    name: str, rule: str, wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, rule, wrong)
    assert drawing(name).is_refuted(EXIT)
