"""Each token stops at the first candidate layer that is confident.

The rule of CALM (Schuster et al., 2022), over the confidence measures of ``confidence.py``. Keys and values
after an exit are made exactly by default, when a later token goes deeper. CALM projects them from the hidden
state that stopped (``kv_fill=propagate``): on the embedded model in float32 on two cores that cost as much a
token (time ratio 0.97, 95 % interval 0.89 to 1.06, over 8 HumanEval prompts), and is an approximation (of 288
tokens of the full model's, recompute would have chosen 67 %, propagate 64 %, mask 60 %).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, cast

from pydantic import field_validator, model_validator

from lsbench.engine import DepthPlan, DepthPolicy, ExitView, KVFill, PartialHead, StepContext
from lsbench.strategy import (
    BadInput,
    Choice,
    FloatRange,
    GenerateRequest,
    IntRange,
    Preparation,
    ScoreWindow,
    Strategy,
    StrategyOptions,
    option,
)
from lsbench_strategies.confidence import SCALES, Confidence, Measure, decayed_threshold
from lsbench_strategies.frequent_tokens import frequent_tokens
from lsbench_strategies.layers import check_layer

_CANDIDATES = 6
"""Candidate layers with ``auto``: every check costs the head, which may weigh as much as several layers."""


class DynamicExitOptions(StrategyOptions):
    """Options of ``dynamic_exit``."""

    confidence: Measure = option(
        "softmax_max",
        help="what is read: softmax_max, softmax_margin, entropy, hidden_cosine or patience",
        # Patience counts, so that one range of thresholds does not hold for it and the others.
        search=Choice(("softmax_max", "softmax_margin", "entropy", "hidden_cosine")),
        examples=("patience",),
    )
    threshold: float | None = option(
        None,
        help="confidence at which a token stops (default: softmax_max 0.95, softmax_margin 0.9, entropy "
        "0.975, hidden_cosine 0.98, patience 2)",
        search=FloatRange(0.3, 1.0),
    )
    threshold_decay: float | None = option(
        None,
        help="the threshold falls with each token t, to 0.9 threshold + 0.1 exp(-threshold_decay * t)",
        search=FloatRange(0.005, 0.5),
        gt=0,
    )
    min_layer: int | None = option(
        None, help="no token stops before this layer (default L/2)", search=IntRange(1, None), ge=1
    )
    candidate_layers: Literal["auto"] | tuple[int, ...] | int = option(
        "auto",
        help="layers where a token may stop, such as [12,18,24], or auto: six at even distances from "
        "min_layer to L-1",
        examples=([2], [1, 3]),
    )
    check_vocab: int | None = option(
        None,
        help="check the confidence on the n most frequent tokens alone: cheaper, and an approximation "
        "(default: all)",
        examples=(16,),
        ge=2,
    )
    kv_fill: KVFill = option(
        "recompute",
        help="keys and values after an exit: recompute (exact), propagate (from the hidden state that "
        "stopped) or mask",
        search=Choice(("recompute", "propagate", "mask")),
    )

    @field_validator("candidate_layers")
    @classmethod
    def _layers(cls, value: Literal["auto"] | tuple[int, ...] | int) -> Literal["auto"] | tuple[int, ...]:
        """In running order; also makes a list of one of a number alone."""
        if value == "auto":
            return "auto"
        layers = (value,) if isinstance(value, int) else cast("tuple[int, ...]", value)
        if not layers:
            raise ValueError("a token could stop nowhere; give layers, or auto")
        if min(layers) < 1:
            raise ValueError(f"layers count from 1, and {min(layers)} is below")
        if len(set(layers)) < len(layers):
            raise ValueError("a layer is given twice")
        return tuple(sorted(layers))

    @model_validator(mode="after")
    def _threshold_in_range(self) -> DynamicExitOptions:
        threshold, scale = self.threshold, SCALES[self.confidence]
        if threshold is None:
            return self
        if self.confidence == "patience" and (threshold < 1 or threshold != int(threshold)):
            raise ValueError(
                f"threshold={threshold:g}: with confidence=patience it counts layers that agree with the "
                "candidate before, a whole number of at least 1"
            )
        if not scale.low <= threshold <= scale.high:
            raise ValueError(
                f"threshold={threshold:g}: with confidence={self.confidence} it runs from {scale.low:g} to "
                f"{scale.high:g}"
            )
        if self.threshold_decay is not None and threshold < 0:
            raise ValueError(f"threshold={threshold:g}: with threshold_decay it runs from 0 to 1")
        return self

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> DynamicExitOptions:
        if self.threshold_decay is not None and self.confidence == "patience":
            raise ValueError(
                "threshold_decay has no meaning with confidence=patience, whose threshold is a count"
            )
        if self.check_vocab is not None and self.confidence == "hidden_cosine":
            raise ValueError("check_vocab has no effect with confidence=hidden_cosine, which reads no head")
        if self.min_layer is not None and self.candidate_layers != "auto":
            layers = cast("tuple[int, ...]", self.candidate_layers)
            written = ",".join(map(str, layers))
            if self.min_layer > layers[-1]:
                raise ValueError(f"min_layer={self.min_layer} leaves none of candidate_layers=[{written}]")
            if self.min_layer <= layers[0]:
                raise ValueError(
                    f"min_layer={self.min_layer} has no effect: candidate_layers=[{written}] begin no earlier"
                )
        return self


class DynamicExit(Strategy):
    """Each token runs until a candidate layer is confident, and predicts from there.

    A check costs the final norm and the head on one position (``hidden_cosine``: a cosine); the logits of the
    check that stops a token are reused to choose the next. With ``check_vocab`` the measure is that of a
    softmax over a few tokens: an approximation, more confident than the whole, since the probability of all
    other tokens is left out of it. The logits of all tokens are then computed at the exit. A draft with
    a trimmed vocabulary is checked on that vocabulary, or on the tokens of ``check_vocab``; where both are as
    large, one product serves the check and the choice.
    """

    Options = DynamicExitOptions

    def check(self, num_layers: int) -> None:
        """Every layer named must be one after which something is left to run, and patience attainable."""
        options = self._options
        if num_layers < 2:
            raise BadInput("--strategy dynamic_exit: a model of one layer has none to stop before its end")
        given = options.candidate_layers
        named = () if given == "auto" else tuple(cast("tuple[int, ...]", given))
        for name, layers in (("candidate_layers", named), ("min_layer", (options.min_layer or 1,))):
            for layer in layers:
                check_layer("dynamic_exit", name, layer, num_layers)
                if layer == num_layers:
                    raise BadInput(
                        f"--strategy dynamic_exit: {name} names layer {layer}, the last one, after which "
                        f"nothing is left to save: choose from 1..{num_layers - 1}"
                    )
        if options.confidence == "patience":
            self._check_patience(len(self.candidates(num_layers)))

    def _check_patience(self, candidates: int) -> None:
        wanted = int(self._options.threshold or 1)
        if wanted >= candidates:
            raise BadInput(
                f"--strategy dynamic_exit: threshold={wanted} needs at least {wanted + 1} candidate layers, "
                f"but there are {candidates}: lower threshold or min_layer, or name more candidate_layers"
            )

    def prepare(self, preparation: Preparation) -> None:
        """Fix candidates, threshold and plan; with ``check_vocab``, copy the head's rows of frequent tokens.

        Raises:
            BadInput: ``check_vocab`` is no fewer than the model's tokens.
        """
        options = self._options
        self._candidates = self.candidates(preparation.num_layers)
        default = SCALES[options.confidence].default
        self._threshold = default if options.threshold is None else options.threshold
        if options.confidence == "patience":
            # The default must be attainable where there are few candidates.
            self._threshold = min(self._threshold, len(self._candidates) - 1)
        self._plan = DepthPlan((True,) * (2 * preparation.num_layers), options.kv_fill)
        self._partial_head: PartialHead | None = None
        if options.check_vocab is not None:
            size = preparation.stack.vocabulary_size
            if options.check_vocab >= size:
                raise BadInput(
                    f"--strategy dynamic_exit: check_vocab={options.check_vocab}, but the model has {size} "
                    "tokens in all: give fewer, or leave it out"
                )
            tokens = frequent_tokens(preparation, options.check_vocab)
            self._partial_head = preparation.stack.partial_head(tokens)

    def candidates(self, num_layers: int) -> tuple[int, ...]:
        """Layers where a token may stop, ascending, on a model of L layers.

        With ``auto``, six at most, at even distances from ``min_layer`` (L/2, rounded up, unless given) to
        L-1, both included.
        """
        options = self._options
        if options.candidate_layers != "auto":
            layers = cast("tuple[int, ...]", options.candidate_layers)
            return tuple(layer for layer in layers if layer >= (options.min_layer or 1))
        first, last = options.min_layer or (num_layers + 1) // 2, num_layers - 1
        count = min(_CANDIDATES, last - first + 1)
        return tuple(first + round((last - first) * k / max(count - 1, 1)) for k in range(count))

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """The rule, for one request."""
        options = self._options
        return ExitPolicy(
            Confidence(options.confidence, self._partial_head),
            self._threshold,
            options.threshold_decay,
            self._candidates,
            self._plan,
        )

    @property
    def _options(self) -> DynamicExitOptions:
        return cast(DynamicExitOptions, self.options)


class ExitPolicy(DepthPolicy):
    """Stops a token at the first candidate whose confidence reaches the threshold.

    Args:
        confidence: the measure.
        threshold: what it must reach.
        decay: how fast the threshold falls with each token, or None.
        candidates: layers that are asked, ascending.
        plan: every layer, and how keys and values after an exit are filled.
    """

    def __init__(
        self,
        confidence: Confidence,
        threshold: float,
        decay: float | None,
        candidates: tuple[int, ...],
        plan: DepthPlan,
    ) -> None:
        self._confidence = confidence
        self._threshold = self._wanted = threshold
        self._decay = decay
        self._candidates = candidates
        self._plan = plan

    def plan(self, context: StepContext) -> DepthPlan:
        """Every layer, until a candidate says otherwise."""
        self._confidence.begin_token()
        self.exit_confidence = None
        if self._decay is not None:
            self._wanted = decayed_threshold(self._threshold, self._decay, context.step)
        return self._plan

    def check_layers(self, num_layers: int) -> Collection[int]:
        """The candidates."""
        return self._candidates

    def should_exit(self, layer: int, exit_view: ExitView) -> bool:
        """Whether the candidate is confident enough; what is not a number never is."""
        confidence = self._confidence.of(exit_view)
        stops = confidence >= self._wanted
        if stops:
            self.exit_confidence = confidence
        return stops
