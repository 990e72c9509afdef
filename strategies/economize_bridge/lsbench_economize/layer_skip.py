"""economize's ``layer_skip``: the model without some whole layers drafts; these are given or searched."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import model_validator

from lsbench.strategy import BadInput, Choice, IntRange, Preparation, StrategyOptions, option
from lsbench_economize.drafting import EconomizeDrafting
from lsbench_economize.package import economize

_CALIBRATION_TOKENS = 128
"""That a search judges every set by, at most: it makes a pass over them for each of num_skip x L sets."""


class LayerSkipOptions(StrategyOptions):
    """Options of ``economize_layer_skip``."""

    num_skip: int | None = option(
        None,
        help="layers that drafts leave out, found by a search",
        search=IntRange(1, None),
        examples=[1],
        ge=1,
    )
    skip_layers: tuple[int, ...] = option((), help="these layers instead, counted from 1", examples=[[2]])
    search: Literal["greedy", "uniform"] = option(
        "greedy",
        help="greedy: one at a time, the one that hurts least; uniform: evenly spread, without a search",
        search=Choice(("greedy", "uniform")),
    )
    num_speculations: int = option(
        3, help="tokens drafted per cycle, at most (cycle_length - 1)", search=IntRange(1, 12), ge=1
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> LayerSkipOptions:
        if self.num_skip is None and not self.skip_layers:
            raise ValueError("give num_skip, or skip_layers in place of a search")
        if len(set(self.skip_layers)) < len(self.skip_layers) or any(layer < 1 for layer in self.skip_layers):
            raise ValueError(f"skip_layers={list(self.skip_layers)} must be different layers, counted from 1")
        return self


class EconomizeLayerSkip(EconomizeDrafting):
    """Self-speculation by skipped layers, as economize does it (after Draft & Verify, SWIFT and CLaSp)."""

    Options = LayerSkipOptions

    def check(self, num_layers: int) -> None:
        """Layers must be the model's; a search leaves the first and the last."""
        beyond = [layer for layer in self._options.skip_layers if layer > num_layers]
        if beyond:
            raise BadInput(
                f"economize_layer_skip: skip_layers names layer {beyond[0]}, but the model has {num_layers}"
            )
        most = num_layers - 1 if self._options.skip_layers else num_layers - 2
        if self._count > most:
            raise BadInput(
                f"economize_layer_skip: leaves out {self._count} of {num_layers} layers; {most} at most"
            )

    def technique(self) -> Any:
        """A given set, or a search for one."""
        module = economize("economize.techniques.layer_skip")
        return module.LayerSkipConfig(
            skip_layers=self._options.skip_layers,
            num_skip=self._count,
            search=self._options.search,
        )

    def calibration(self, preparation: Preparation) -> Any:
        """The beginnings of the calibration prompts, evenly many tokens of each."""
        prompts = preparation.calibration_prompts
        if self._options.skip_layers or self._options.search == "uniform" or not prompts:
            return None
        each = max(1, _CALIBRATION_TOKENS // len(prompts))
        device = preparation.stack.device
        return [torch.tensor([prompt[:each]], device=device) for prompt in prompts]

    def drafted(self) -> int:
        """As asked."""
        return self._options.num_speculations

    def draft_layers(self, num_layers: int) -> int:
        """Those that are left."""
        return num_layers - self._count

    @property
    def _count(self) -> int:
        return len(self._options.skip_layers) or self._options.num_skip or 0

    @property
    def _options(self) -> LayerSkipOptions:
        return cast(LayerSkipOptions, self.options)
