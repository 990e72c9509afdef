"""economize's ``calm``: a token exits as soon as it is confident, and its keys and values are projected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

from lsbench.engine import Sampler, Session
from lsbench.strategy import (
    BadInput,
    Choice,
    Emitted,
    FloatRange,
    GenerateRequest,
    IntRange,
    Scored,
    ScoreWindow,
    StrategyOptions,
    option,
)
from lsbench_economize.choosing import Following, Sampled
from lsbench_economize.package import economize
from lsbench_economize.technique import EconomizeTechnique


class CalmOptions(StrategyOptions):
    """Options of ``economize_calm``."""

    confidence: Literal["softmax", "state"] = option(
        "softmax",
        help="softmax: gap of the two largest probabilities; state: cosine of a layer's input and output",
        search=Choice(("softmax", "state")),
    )
    threshold: float = option(
        0.9, help="a token exits above it", search=FloatRange(0.3, 1.0), examples=[0.01], ge=0, le=1
    )
    min_layer: int = option(
        1, help="the first layer after which a token may exit", search=IntRange(1, None), ge=1
    )
    decay_temperature: float = option(
        0.0, help="how fast the threshold falls over the output (tau); 0: it does not", examples=[4.0], ge=0
    )


class EconomizeCalm(EconomizeTechnique):
    """Confident early exits, as economize does them (CALM, Schuster et al. 2022)."""

    Options = CalmOptions

    def check(self, num_layers: int) -> None:
        """The first exit must be below the last layer."""
        if self._options.min_layer >= num_layers:
            raise BadInput(
                f"economize_calm: min_layer names layer {self._options.min_layer}, but the model has "
                f"{num_layers}; write one of 1..{num_layers - 1}"
            )

    def technique(self) -> Any:
        """As asked."""
        options = self._options
        return economize("economize.techniques.dynamic_depth").CalmConfig(
            confidence=options.confidence,
            threshold=options.threshold,
            min_layer=options.min_layer,
            decay_temperature=options.decay_temperature,
        )

    def decoding(self, greedy: bool) -> Any:
        """Token by token, each read as soon as it is there."""
        return economize().DecodeConfig(cycle_length=1, sync_interval=1)

    def selector(self, session: Session, request: GenerateRequest) -> Any:
        """lsbench's own, with the request's random numbers."""
        return Sampled(Sampler(request.sampling, request.seed))

    def emissions(self, decoder: Any, session: Session) -> Callable[[Any], Iterator[Emitted]]:
        """A token a pass, with the layers that the technique's own meter counts for it."""
        meter = decoder.layer_policy.meter
        before = 0

        def emit(event: Any) -> Iterator[Emitted]:
            nonlocal before
            ran = int(meter.per_layer("decode")[:, 1].sum())
            layers = session.num_layers if event.start == 0 else ran - before
            before = ran
            yield Emitted((event.next_token,), (float(layers),))

        return emit

    def score(self, session: Session, window: ScoreWindow, sampler: Sampler | None = None) -> Scored:
        """Decoded, each token exiting where it would, with the continuation in place of what is chosen."""
        following = Following(window.continuation, sampler)
        count = len(window.continuation)
        out = list(self.decoded(session, window.context, count, self.decoding(True), following))
        depth = tuple(layers for emitted in out for layers in emitted.depth or ())
        return Scored(tuple(following.logprobs), tuple(following.choices), depth)

    @property
    def _options(self) -> CalmOptions:
        return cast(CalmOptions, self.options)
