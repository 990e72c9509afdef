"""In every family tokens that stop early say what transformers' own hidden state says there.

With ``kv_fill=recompute`` everything below a token's exit is exact: a token that stopped at layer E is what
the model's own final norm and head choose from the hidden state that its layer E left in one plain pass.
However the cache is kept, a sequence comes out alone as beside others, and scoring chooses what was decoded.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lsbench.engine import Session
from lsbench.engine.batch import Batch
from lsbench.spec import Sampling, ScoreWindow, parse_strategy
from lsbench.strategy import Preparation, Strategy
from lsbench.strategy.registry import resolve
from support.families.models import LAYERS, VARIANTS, TinyFamily, tiny_family
from support.requests import generate_request

PROMPT = (5, 17, 3, 24, 8, 21, 9)
COUNT = 12
EXITS = "dynamic_exit:candidate_layers=[1,2,3],threshold={},kv_fill={}"
LOSSY = (
    *(EXITS.format("{}", fill) for fill in ("recompute", "propagate", "mask")),
    "dynamic_skip:skip_set=[2.mlp,3],thresholds=[0.6,0.9],kv_fill=propagate",
    "dynamic_skip:skip_set=[2.mlp,3],thresholds=[0.6,0.9],kv_fill=recompute",
    "dynamic_skip:skip_set=[2.mlp,3],thresholds=[0.6,0.9],kv_fill=mask",
)

pytestmark = pytest.mark.slow


def strategy_of(tiny: TinyFamily, text: str) -> Strategy:
    strategy = resolve(parse_strategy(text))
    strategy.check(LAYERS)
    strategy.prepare(Preparation(tiny.stack, ((3, 1, 4, 1, 5, 9, 2, 6), (2, 7, 1, 8, 2, 8))))
    return strategy


def decoded(strategy: Strategy, session: Session, count: int = COUNT, sampling: Sampling | None = None):
    """Tokens, and the layers that each ran."""
    request = generate_request(PROMPT[-count:], count, sampling=sampling or Sampling(), seed=count)
    emitted = list(strategy.generate(session, request))
    tokens = tuple(token for emission in emitted for token in emission.tokens)
    return tokens, tuple(depth for emission in emitted for depth in emission.depth or ())


@torch.inference_mode()
def hidden_by_layer(tiny: TinyFamily, tokens: tuple[int, ...]) -> list[torch.Tensor]:
    """[T, D] after each layer of transformers' own model."""
    found: list[torch.Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _, __, made: found.append(made[0]))
        for layer in tiny.decoder.layers
    ]
    tiny.full_pass(tokens)
    for handle in handles:
        handle.remove()
    return found


@torch.inference_mode()
def own_head(tiny: TinyFamily, hidden: torch.Tensor) -> torch.Tensor:
    """[T, V] of transformers' final norm and head on ``hidden`` [T, D], in place of what the layers made."""
    norm = tiny.decoder.get_submodule(tiny.variant.norm)
    handle = norm.register_forward_pre_hook(lambda *_: (hidden[None],))
    logits = tiny.full_pass((0,) * len(hidden))
    handle.remove()
    return logits


def middling_threshold(tiny: TinyFamily) -> float:
    """Which about half of the checks reach: halfway up the confidences that early layers have."""
    hidden = hidden_by_layer(tiny, PROMPT)
    confidences = torch.cat([torch.softmax(own_head(tiny, h), dim=-1).amax(-1) for h in hidden[:-1]])
    return round(float(confidences.median()), 3)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_token_that_stops_is_what_the_models_own_hidden_state_says(name: str) -> None:
    tiny = tiny_family(name)
    strategy = strategy_of(tiny, EXITS.format(middling_threshold(tiny), "recompute"))
    tokens, depths = decoded(strategy, Session(tiny.stack))
    assert len(set(depths[1:])) > 1, "exits differ"
    hidden = hidden_by_layer(tiny, (*PROMPT, *tokens[:-1]))
    entered = [hidden[int(depth) - 1][len(PROMPT) - 1 + place] for place, depth in enumerate(depths)]
    assert own_head(tiny, torch.stack(entered)).argmax(-1).tolist() == list(tokens)


@pytest.mark.parametrize("name", VARIANTS)
def test_however_the_cache_is_kept_it_comes_out_alone_as_beside_others(name: str) -> None:
    tiny = tiny_family(name)
    threshold = middling_threshold(tiny)
    strategies = [strategy_of(tiny, text.format(threshold)) for text in LOSSY]
    # Of different lengths, so that some leave while others go on; every other one drawn.
    samplings = (Sampling(), Sampling(temperature=0.9, top_p=0.9))
    wanted = [(strategy, 4 + place, samplings[place % 2]) for place, strategy in enumerate(strategies)]
    batch = Batch(tiny.stack)

    def member(place: int):
        strategy, count, sampling = wanted[place]
        return place, decoded(strategy, batch.session(16), count, sampling)

    together = dict(batch.run([partial(member, place) for place in range(len(wanted))]))
    for place, (strategy, count, sampling) in enumerate(wanted):
        alone = decoded(strategy, Session(tiny.stack), count, sampling)
        assert together[place] == alone
        if sampling.greedy:
            window = ScoreWindow(context=PROMPT[-count:], continuation=alone[0])
            scored = strategy.score(Session(tiny.stack), window)
            assert (scored.choices, scored.depth) == alone
    assert any(len(set(depths[1:])) > 1 for _, depths in together.values())
