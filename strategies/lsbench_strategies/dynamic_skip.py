"""Layers or sub-layers skipped by how hard the input is: a ladder of nested skip sets, a rung per token.

The ladder comes from block influence on calibration prompts (``skip_set=auto``), from an explicit list, or
from a file; that of a draft may follow the text (``skip_set=online``). Related: SkipDecode (Del Corro et al.,
2023), Unified Layer Skipping (Liu et al., 2024), SWIFT (Xia et al., 2024), CLaSp (Chen et al., 2025),
ShortGPT's block influence (Men et al., 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

from pydantic import field_validator, model_validator

from lsbench.engine import DepthPlan, DepthPolicy, KVFill, PartialHead
from lsbench.strategy import (
    BadInput,
    Choice,
    Draft,
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
from lsbench_strategies.layers import check_layer
from lsbench_strategies.online_skip_set import OnlineSkipSetDraft
from lsbench_strategies.skip_ladder import Ladder, build_ladder, rank_units, rebuilt_ladder
from lsbench_strategies.skip_set import ITEM, Granularity, Unit, check_fill, parse_items, read_skip_set

_DEFAULT_RATIO = 0.2
_DEFAULT_FILL: KVFill = "propagate"
"""Exact filling (``recompute``) lets older tokens ride along whenever a token goes deeper than they did. On a
ladder that is every other token, and on a CPU a product of several rows costs far more than one of one."""


class DynamicSkipOptions(StrategyOptions):
    """Options of ``dynamic_skip``."""

    difficulty: Signal = option(
        "previous_entropy",
        help="what tells hard tokens: previous_entropy, previous_margin, early_cosine, prompt_perplexity",
        search=Choice(("previous_entropy", "previous_margin", "early_cosine", "prompt_perplexity")),
    )
    max_skip_ratio: float | None = option(
        None,
        help="share of the layers' weights that easiest tokens leave out (default 0.2, or all of skip_set)",
        search=FloatRange(0.02, 0.6),
        gt=0,
        lt=1,
    )
    granularity: Granularity = option(
        "sublayer",
        help="leave out single sub-layers or whole layers; a given skip_set must keep to it",
        search=Choice(("layer", "sublayer")),
    )
    thresholds: Literal["auto"] | tuple[float, ...] = option(
        "auto",
        help="ascending difficulties between the rungs (0 is easiest), or auto: calibrated quantiles",
        examples=[[0.3, 0.7]],
    )
    rungs: int | None = option(
        None, help="skip sets on the ladder, with thresholds=auto (default 3)", search=IntRange(1, 6), ge=1
    )
    skip_set: Literal["auto", "online"] | tuple[int | str, ...] | int | str = option(
        "auto",
        help="auto, a list such as [12,13.mlp] in the order of leaving out, a file, or (as a draft) online",
        examples=[["2.attention", "3.mlp"]],
    )
    early_layer: int | None = option(
        None,
        help="the layer whose cosine early_cosine reads; it and those before always run (default L/8)",
        ge=1,
    )
    kv_fill: KVFill | None = option(
        None,
        help="keys and values of attention left out: propagate (default), recompute (exact) or mask",
        search=Choice(("recompute", "propagate", "mask")),
    )

    @field_validator("skip_set")
    @classmethod
    def _something_left_out(cls, value: tuple[int | str, ...] | int | str) -> tuple[int | str, ...] | str:
        """Also makes a list of one of ``12`` and ``13.mlp`` alone."""
        if value == () or not str(value).strip():
            raise ValueError("nothing would be left out")
        return (
            (value,)
            if isinstance(value, int) or (isinstance(value, str) and ITEM.fullmatch(value))
            else value
        )

    @field_validator("thresholds")
    @classmethod
    def _ascending(cls, value: Literal["auto"] | tuple[float, ...]) -> Literal["auto"] | tuple[float, ...]:
        if value == "auto":
            return value
        if not value:
            raise ValueError("give at least one threshold, or auto")
        if value[0] <= 0:
            raise ValueError("no difficulty lies below 0, so that such a threshold would leave nothing out")
        if any(a >= b for a, b in pairwise(value)):
            raise ValueError("thresholds must ascend")
        return value

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> DynamicSkipOptions:
        if self.thresholds != "auto" and self.rungs is not None:
            raise ValueError("rungs follows from thresholds (one rung a threshold); give only one of the two")
        if self.early_layer is not None and self.difficulty != "early_cosine":
            raise ValueError(
                f"early_layer has no effect with difficulty={self.difficulty}; it belongs to early_cosine"
            )
        if isinstance(self.skip_set, tuple):
            check_fill(parse_items(self.skip_set, self.granularity), self.kv_fill)
        return self


class DynamicSkip(Strategy):
    """A rung of a ladder of nested skip sets for every token."""

    Options = DynamicSkipOptions

    def check(self, num_layers: int) -> None:
        """Every named layer must be one of the model's; a file, readable and made for as many layers."""
        self._refuse_online()
        self.check_draft(num_layers)

    def check_draft(self, num_layers: int) -> None:
        """The same, but a draft may follow the text."""
        options = self._options
        kept = self._kept_layers(num_layers)
        if kept >= num_layers:
            raise BadInput(
                f"--strategy dynamic_skip: no layer of {num_layers} is left after early_layer={kept}"
            )
        units = self._given_units(num_layers)
        for unit in units or ():
            layer = unit[0] // 2 + 1
            check_layer("dynamic_skip", "skip_set", layer, num_layers)
            if layer <= kept:
                raise BadInput(
                    f"--strategy dynamic_skip: skip_set leaves out layer {layer}, but with "
                    f"difficulty=early_cosine layers 1..{kept} always run: change early_layer or difficulty"
                )
        available = (
            len(units) if units else (num_layers - kept) * (2 if options.granularity == "sublayer" else 1)
        )
        given_by, rungs = self._rungs
        if rungs is not None and rungs > available:
            raise BadInput(
                f"--strategy dynamic_skip: {given_by} asks for {rungs} different skip sets, but there are "
                f"{available} parts to leave out"
            )

    def prepare(self, preparation: Preparation) -> None:
        """Rank sub-layers and calibrate thresholds where they are ``auto``.

        Raises:
            BadInput: within ``max_skip_ratio`` there is no room for anything, or for as many rungs.
        """
        options, num_layers = self._options, preparation.num_layers
        self._weights = weights = preparation.sublayer_bytes
        order = self._given_units(num_layers)
        if order is None:
            self._influence: list[float] = preparation.influence.tolist()
            order = self._ranked(self._influence)
            ratio = options.max_skip_ratio or _DEFAULT_RATIO
        else:
            ratio = options.max_skip_ratio or sum(weights[j] for unit in order for j in unit) / sum(weights)
        given_by, rungs = self._rungs
        self.ladder = build_ladder(order, weights, ratio, rungs, given_by)
        self._ratio = ratio
        early_layer = self._early_layer(num_layers)
        if options.thresholds == "auto":
            count = len(self.ladder.rungs) - 1
            self.thresholds = calibrate_thresholds(preparation, options.difficulty, count, early_layer)
        else:
            self.thresholds = options.thresholds
        self._plans = self._plans_of(self.ladder)
        self._checked_layer = early_layer
        self._log_vocabulary = math.log(preparation.stack.vocabulary_size)

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """The ladder, for one request."""
        self._refuse_online()
        return self._policy()

    def draft(
        self, request: GenerateRequest, stop_below: float = 0.0, head: PartialHead | None = None
    ) -> Draft:
        """The ladder, ranked anew after every verifying pass where ``skip_set`` is ``online``."""
        if self._options.skip_set != "online":
            return super().draft(request, stop_below, head)
        return OnlineSkipSetDraft(self._policy(), self._influence, self._plans_by, stop_below, head)

    def _policy(self) -> LadderPolicy:
        return LadderPolicy(
            self._options.difficulty, self.thresholds, self._plans, self._checked_layer, self._log_vocabulary
        )

    def _ranked(self, influence: Sequence[float]) -> tuple[Unit, ...]:
        kept = self._kept_layers(len(self._weights) // 2)
        return rank_units(influence, self._weights, self._options.granularity, kept)

    def _plans_of(self, ladder: Ladder) -> list[DepthPlan]:
        fill = self._options.kv_fill or _DEFAULT_FILL
        return [DepthPlan.skipping(len(self._weights) // 2, rung, fill) for rung in ladder.rungs]

    def _plans_by(self, influence: Sequence[float]) -> list[DepthPlan]:
        """As many rungs and as much left out as was prepared, by another ranking."""
        count = len(self.ladder.rungs) - 1
        return self._plans_of(rebuilt_ladder(self._ranked(influence), self._weights, self._ratio, count))

    def _refuse_online(self) -> None:
        if self._options.skip_set == "online":
            raise BadInput(
                "--strategy dynamic_skip: skip_set=online follows what verifying passes see, so only a draft "
                "can have it: self_speculative:draft=dynamic_skip,draft.skip_set=online"
            )

    @property
    def _options(self) -> DynamicSkipOptions:
        return cast(DynamicSkipOptions, self.options)

    @property
    def _rungs(self) -> tuple[str, int | None]:
        """Which option says how many rungs there are, and how many it asks for."""
        thresholds = self._options.thresholds
        return ("rungs", self._options.rungs) if thresholds == "auto" else ("thresholds", len(thresholds))

    def _early_layer(self, num_layers: int) -> int:
        return self._options.early_layer or max(1, num_layers // 8)

    def _kept_layers(self, num_layers: int) -> int:
        """How many first layers always run, because difficulty is read after them."""
        return self._early_layer(num_layers) if self._options.difficulty == "early_cosine" else 0

    def _given_units(self, num_layers: int) -> tuple[Unit, ...] | None:
        """The explicit skip set, or that of the file; None when it is to be found."""
        # A number alone has become a list of one.
        given = cast("tuple[int | str, ...] | str", self._options.skip_set)
        if given in ("auto", "online"):
            return None
        if isinstance(given, str):
            given = read_skip_set(given, num_layers)
        try:
            units = parse_items(given, self._options.granularity)
            check_fill(units, self._options.kv_fill)
        except ValueError as error:
            raise BadInput(f"--strategy dynamic_skip: skip_set: {error}") from error
        return units
