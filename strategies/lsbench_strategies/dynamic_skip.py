"""Layers or sub-layers skipped by how hard the input is: a ladder of nested skip sets, a rung per token.

The ladder comes from block influence on calibration prompts (``skip_set=auto``), from an explicit list, or
from a file. Related: SkipDecode (Del Corro et al., 2023), Unified Layer Skipping (Liu et al., 2024), SWIFT
(Xia et al., 2024), ShortGPT's block influence (Men et al., 2024).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, cast

from pydantic import field_validator, model_validator

from lsbench.engine import DepthPlan, DepthPolicy, KVFill
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
from lsbench_strategies.difficulty import LadderPolicy, Signal, calibrate_thresholds
from lsbench_strategies.exits import check_exit_layer
from lsbench_strategies.skip_ladder import (
    Granularity,
    SkipSetFile,
    Unit,
    build_ladder,
    parse_items,
    rank_units,
    read_skip_set,
)

_DEFAULT_RATIO = 0.2
_DEFAULT_RUNGS = 3


class DynamicSkipOptions(StrategyOptions):
    """Options of ``dynamic_skip``."""

    difficulty: Signal = option(
        "previous_entropy",
        help="what says how hard a token is: previous_entropy, previous_margin, early_cosine, prompt_perplexity",
        search=Choice(("previous_entropy", "previous_margin", "early_cosine", "prompt_perplexity")),
    )
    max_skip_ratio: float | None = option(
        None,
        help="share of the layers' weights that the easiest tokens leave out (auto: 0.2; explicit: the whole set)",
        search=FloatRange(0.02, 0.6),
        gt=0,
        lt=1,
    )
    granularity: Granularity = option(
        "sublayer", help="leave out single sub-layers or whole layers", search=Choice(("layer", "sublayer"))
    )
    thresholds: Literal["auto"] | tuple[float, ...] = option(
        "auto", help="ascending difficulties between the rungs, or auto: calibrated quantiles"
    )
    rungs: int | None = option(
        None, help="skip sets on the ladder, with thresholds=auto (default 3)", search=IntRange(1, 6), ge=1
    )
    skip_set: Literal["auto"] | tuple[int | str, ...] | str = option(
        "auto", help="auto, a list such as [12,13.mlp] in the order of leaving out, or a file"
    )
    early_layer: int | None = option(
        None, help="the layer whose cosine early_cosine reads; it and those before always run (default L/8)", ge=1
    )
    kv_fill: KVFill = option(
        "recompute",
        help="what becomes of skipped keys and values: recompute, propagate or mask",
        search=Choice(("recompute", "propagate", "mask")),
    )

    @field_validator("thresholds")
    @classmethod
    def _ascending(cls, value: Literal["auto"] | tuple[float, ...]) -> Literal["auto"] | tuple[float, ...]:
        if value == "auto":
            return value
        if not value:
            raise ValueError("give at least one threshold, or auto")
        if any(a >= b for a, b in zip(value, value[1:], strict=False)):
            raise ValueError("thresholds must ascend")
        return value

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> DynamicSkipOptions:
        if self.thresholds != "auto" and self.rungs is not None:
            raise ValueError("rungs follows from thresholds (one rung a threshold); give only one of the two")
        if self.early_layer is not None and self.difficulty != "early_cosine":
            raise ValueError(f"early_layer has no effect with difficulty={self.difficulty}; it belongs to early_cosine")
        if isinstance(self.skip_set, tuple):
            if not self.skip_set:
                raise ValueError("skip_set is an empty list: nothing would be left out")
            parse_items(self.skip_set, self.granularity)
        return self


class DynamicSkip(Strategy):
    """A rung of a ladder of nested skip sets for every token."""

    Options = DynamicSkipOptions

    def check(self, num_layers: int) -> None:
        """Every named layer must be one of the model's; a file must be readable and made for as many layers."""
        early_layer = self._early_layer(num_layers)
        if self._options.difficulty == "early_cosine" and early_layer >= num_layers:
            raise BadInput(
                f"--strategy dynamic_skip: early_layer={early_layer} leaves no later layer of {num_layers} to skip"
            )
        units = self._given_units(num_layers)
        for unit in units or ():
            check_exit_layer("dynamic_skip", "skip_set", unit[0] // 2 + 1, num_layers)
            if self._options.difficulty == "early_cosine" and unit[0] // 2 < early_layer:
                raise BadInput(
                    f"--strategy dynamic_skip: skip_set leaves out layer {unit[0] // 2 + 1}, but with "
                    f"difficulty=early_cosine layers 1..{early_layer} always run"
                )

    def prepare(self, preparation: Preparation) -> None:
        """Rank sub-layers and calibrate thresholds where they are ``auto``."""
        options, num_layers = self._options, preparation.num_layers
        weights = preparation.sublayer_bytes
        early_layer = self._early_layer(num_layers)
        order = self._given_units(num_layers)
        if order is None:
            kept = early_layer if options.difficulty == "early_cosine" else 0
            order = rank_units(preparation.influence.tolist(), weights, options.granularity, kept)
            ratio = options.max_skip_ratio or _DEFAULT_RATIO
        else:
            whole = sum(weights[j] for unit in order for j in unit) / sum(weights)
            ratio = options.max_skip_ratio or whole
        if options.thresholds == "auto":
            rungs = options.rungs or _DEFAULT_RUNGS
            self.thresholds = calibrate_thresholds(preparation, options.difficulty, rungs, early_layer)
        else:
            self.thresholds = options.thresholds
        self.ladder = build_ladder(order, weights, ratio, len(self.thresholds))
        self._plans = [DepthPlan.skipping(num_layers, rung, options.kv_fill) for rung in self.ladder.rungs]
        self._checked_layer = early_layer
        self._log_vocabulary = math.log(preparation.stack.vocabulary_size)

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """The ladder, for one request."""
        return LadderPolicy(
            self._options.difficulty, self.thresholds, self._plans, self._checked_layer, self._log_vocabulary
        )

    @property
    def _options(self) -> DynamicSkipOptions:
        return cast(DynamicSkipOptions, self.options)

    def _early_layer(self, num_layers: int) -> int:
        return self._options.early_layer or max(1, num_layers // 8)

    def _given_units(self, num_layers: int) -> tuple[Unit, ...] | None:
        """The explicit skip set, or that of the file; None when it is to be found."""
        given = self._options.skip_set
        if given == "auto":
            return None
        if isinstance(given, str):
            content: SkipSetFile = read_skip_set(Path(given))
            if content.num_layers != num_layers:
                raise BadInput(
                    f"skip_set file {given} was found on a model of {content.num_layers} layers; this one has {num_layers}"
                )
            given = content.skipped
        try:
            return parse_items(given, self._options.granularity)
        except ValueError as error:
            raise BadInput(f"--strategy dynamic_skip: skip_set: {error}") from error
