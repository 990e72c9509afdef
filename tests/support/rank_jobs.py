"""What ranks are given to do in tests: functions of the rank's place, and more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsbench.execution.shards import RankPlace, load_shard

PROMPT = (5, 17, 3, 24, 8, 21, 9)
CALIBRATION = tuple(
    tuple((7 * place + 3 * prompt + place * place) % 29 for place in range(12)) for prompt in range(3)
)
_LOADED: dict[tuple[Path, str], Any] = {}


def shard(place: RankPlace, path: Path, dtype: str) -> Any:
    """This rank's part of a model, loaded once."""
    if (path, dtype) not in _LOADED:
        _LOADED.clear()
        _LOADED[path, dtype] = load_shard(path, dtype, "cpu", place)
    return _LOADED[path, dtype]


def whole(path: Path, dtype: str) -> Any:
    """The model by itself."""
    from lsbench.engine.loading import load_stack

    return load_stack(path, dtype, "cpu")


def decoded(stack: Any, strategy: str, count: int = 14, **request: Any) -> list[int]:
    """What a strategy decodes after ``PROMPT``."""
    from lsbench.engine import Session
    from lsbench.spec import Sampling
    from support.requests import generate_request

    prepared = prepared_strategy(stack, strategy)
    asked = generate_request(PROMPT, count, **{"sampling": Sampling(), "seed": 0, **request})
    return [token for said in prepared.generate(Session(stack), asked) for token in said.tokens]


def prepared_strategy(stack: Any, strategy: str) -> Any:
    """By its words, calibrated."""
    from lsbench.spec import parse_strategy
    from lsbench.strategy import Preparation
    from lsbench.strategy.registry import resolve

    made = resolve(parse_strategy(strategy))
    made.check(stack.num_layers)
    made.prepare(Preparation(stack, CALIBRATION))
    return made


def decode(place: RankPlace, path: Path, dtype: str, strategies: tuple[str, ...], **request: Any) -> Any:
    """What each strategy decodes with the sharded model."""
    stack = shard(place, path, dtype)
    return {strategy: decoded(stack, strategy, **request) for strategy in strategies}


def counts(stack: Any) -> dict[str, Any]:
    """Heads and bytes of weights: held, of these held by every rank, and read for a token by all."""
    everywhere = {name for name, _ in stack.model.named_parameters() if "norm" in name or "embed" in name}
    sizes = {name: weight.numel() * 4 for name, weight in stack.model.named_parameters()}
    return {
        "heads": (stack.shape.heads, stack.shape.kv_heads),
        "held": sum(sizes.values()),
        "everywhere": sum(sizes[name] for name in everywhere),
        "read": (stack.sublayer_bytes, stack.head_product.weight_bytes),
    }


def share(place: RankPlace, path: Path) -> dict[str, Any]:
    """What this rank holds."""
    return counts(shard(place, path, "float32"))


def sampled(stack: Any, strategies: tuple[str, ...], request: dict[str, Any]) -> Any:
    """What each strategy draws."""
    from lsbench.spec import Sampling

    drawn = {**request, "sampling": Sampling(**request["sampling"])}
    return {strategy: decoded(stack, strategy, **drawn) for strategy in strategies}


def decode_sampled(place: RankPlace, path: Path, strategies: tuple[str, ...], request: dict[str, Any]) -> Any:
    """The same, with the sharded model."""
    return sampled(shard(place, path, "float32"), strategies, request)


def together(stack: Any, strategies: tuple[str, ...]) -> Any:
    """What each strategy decodes after two prompts at once."""
    from functools import partial

    from lsbench.engine import Session
    from lsbench.engine.batch import Batch
    from lsbench.spec import Sampling
    from lsbench.strategy import Member
    from lsbench.strategy.members import emissions
    from support.requests import generate_request

    requests = [
        generate_request(PROMPT[:length], 10, sampling=Sampling(), seed=0) for length in (len(PROMPT), 4)
    ]
    found: dict[str, Any] = {}
    for text in strategies:
        strategy, out = prepared_strategy(stack, text), [[], []]
        if strategy.batching() == "steps":
            batch = Batch(stack)

            def member(strategy: Any, batch: Batch, place: int) -> list[int]:
                said = strategy.generate(batch.session(32), requests[place])
                return [place, *(token for each in said for token in each.tokens)]

            for place, *tokens in batch.run([partial(member, strategy, batch, place) for place in range(2)]):
                out[place] = tokens
        else:
            members = [Member(Session(stack), request) for request in requests]
            for place, said in emissions(strategy, members):
                if isinstance(said, Exception):
                    raise said
                out[place].extend(said.tokens)
                members[place].ended = len(out[place]) == 10
        found[text] = out
    return found


def decode_together(place: RankPlace, path: Path, strategies: tuple[str, ...]) -> Any:
    """The same, with the sharded model."""
    return together(shard(place, path, "float32"), strategies)


def decode_with_noise(place: RankPlace, path: Path, strategies: tuple[str, ...], where: str) -> Any:
    """The same while rank 1's hidden states are noisy, after embedding or within every layer."""
    import torch

    stack = shard(place, path, "float32")
    if place.rank != 1:
        return {strategy: decoded(stack, strategy) for strategy in strategies}
    generator = torch.Generator().manual_seed(4)
    native, stack.native = stack.native, None
    owners = [stack] if where == "embedding" else stack.blocks
    method = {"embedding": "embed", "attention": "finish_attention", "mlp": "run_mlp"}[where]

    def noisy(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            made = function(*arguments)
            return made + 0.05 * torch.randn(made.shape, generator=generator).to(made.dtype)

        return call

    for owner in owners:
        setattr(owner, method, noisy(getattr(owner, method)))
    try:
        return {strategy: decoded(stack, strategy) for strategy in strategies}
    finally:
        for owner in owners:
            delattr(owner, method)
        stack.native = native


def decode_by_chance(place: RankPlace, path: Path, what: str) -> list[int]:
    """A strategy that draws without a seed, either how deep to go or which token to try."""
    import random

    import torch

    from lsbench.engine import DepthPlan, DepthPolicy, Session
    from lsbench.spec import Sampling
    from lsbench.strategy.acceptance import Drafted
    from lsbench.strategy.drafting import Draft, speculate
    from lsbench.strategy.loops import decode as decode_under
    from support.requests import generate_request

    chance = random.Random(place.rank)

    class Chance(DepthPolicy):
        def plan(self, context: Any) -> Any:
            skipped = chance.sample(range(2, 2 * context.num_layers), 2)
            return DepthPlan.skipping(context.num_layers, skipped, chance.choice(("mask", "propagate")))

        def replan(self, layer: int, exit_view: Any) -> Any:
            return DepthPlan.full(4) if chance.random() < 0.2 else None

        def should_exit(self, layer: int, exit_view: Any) -> bool:
            return float(exit_view.logits.max()) > -1e9 and chance.random() < 0.3

    class Guess(Draft):
        def propose(self, session: Any, last: int, count: int, sampler: Any) -> Any:
            for _ in range(count):
                yield Drafted(chance.randrange(29))

    stack = shard(place, path, "float32")
    request = generate_request(PROMPT, 14, sampling=Sampling(), seed=0)
    with torch.inference_mode():
        if what == "depth":
            said = decode_under(Session(stack), request, Chance())
        else:
            said = speculate(Session(stack), request, Guess(), 3)
        return [token for each in said for token in each.tokens]


def fail(place: RankPlace, path: Path, failing: tuple[int, ...]) -> str:
    """Some ranks fail at what they do."""
    agreement = shard(place, path, "float32").agreement
    agreement._wait_s = 1.0
    if place.rank not in failing:
        return "went on"
    agreement.failed(RuntimeError("broken"))
    return "all failed"


def load_wrongly(place: RankPlace, path: Path) -> None:
    """A model whose value heads are cut as if it had others."""
    from dataclasses import replace

    from lsbench.engine import shard_loading

    right = shard_loading.cuts

    def wrong(*arguments: Any) -> Any:
        found = right(*arguments)
        name = "model.layers.1.self_attn.v_proj.weight"
        moved = tuple(slice(span.start * 0, span.stop - span.start) for span in found[name].spans)
        return found | {name: replace(found[name], spans=moved)}

    shard_loading.cuts = wrong
    try:
        load_shard(path, "float32", "cpu", place)
    finally:
        shard_loading.cuts = right


def precisely(stack: Any) -> list[float]:
    """What transformers' own code predicts in float64."""
    from lsbench.engine.precise import precise_logits

    return precise_logits(stack.model, PROMPT).tolist()


def recheck(place: RankPlace, path: Path) -> list[float]:
    """The same, with the sharded model."""
    return precisely(shard(place, path, "float32"))
