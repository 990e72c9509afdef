"""What the reader of a run's figures must know of how it was executed, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lsbench.engine.native.service import WHAT_TORCHS_COST, WHAT_WIDENING_COSTS
from lsbench.spec import INT8_WEIGHTS

if TYPE_CHECKING:
    from lsbench.execution.worker import Contender
    from lsbench.records import Products


def about_turns(contenders: Sequence[Contender], batch_size: int) -> list[str]:
    """Whose sequences do not decode together although that was asked for."""
    return [
        f"{contender.label} decodes one sequence at a time: those of a batch took turns, and shared no step. "
        "Its speed is that of the whole batch, as everyone's is."
        for contender in contenders
        if batch_size > 1 and contender.strategy.batching() == "turns"
    ]


def about_weights(dtype: str, has_experts: bool) -> list[str]:
    """Which model was measured, where its weights were rounded."""
    if dtype != INT8_WEIGHTS:
        return []
    return [
        "int8 weights: the baseline and every strategy run the quantized model, and quality is the quantized "
        "model's. What that costs shows in the score of a float32 run.",
        *(["Experts of a mixture stay float32; other weights are int8."] if has_experts else []),
    ]


def about_products(products: Products, device: str, dtype: str) -> list[str]:
    """What it costs that nothing compiled serves."""
    if products.kind == "native" or not (device.startswith("cpu") or dtype == INT8_WEIGHTS):
        return []
    cost = WHAT_WIDENING_COSTS if dtype == INT8_WEIGHTS else WHAT_TORCHS_COST
    return [f"Few-row products are {products.words}: {cost}."]
