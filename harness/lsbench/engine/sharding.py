"""Which part of every weight each rank holds, where several share a model.

As DeepSpeed's AutoTP cuts them (and Megatron-LM before it: Shoeybi et al., 2019): products that open a
sub-layer by outputs, those that close it by inputs, so that each sub-layer ends with one sum over ranks.
Attention is cut by key-value heads with the query heads that share them, as evenly as they divide; MLPs,
experts and the output head as evenly as their widths do. Everything else is held by all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lsbench.engine.families import Family
from lsbench.errors import BadInput

GRAIN = 32
"""Inputs that products take at once: what is not cut by heads is cut between as many (``tp_grain_size``)."""


@dataclass(frozen=True)
class Rank:
    """One of the ranks that share a model.

    Attributes:
        number: 0 to ``size - 1``.
        size: how many there are.
    """

    number: int
    size: int

    def part(self, width: int, grain: int = 1) -> slice:
        """Its part of something ``width`` wide, cut between grains as evenly as that goes.

        The first ranks have a grain more where they do not divide, the last has what is left of one. What is
        narrower than a grain is cut anywhere.
        """
        grain = grain if width >= grain else 1
        least, more = divmod(width // grain, self.size)
        begin = self.number * least + min(self.number, more)
        end = begin + least + (self.number < more)
        return slice(begin * grain, width if self.number == self.size - 1 else end * grain)


@dataclass(frozen=True)
class Cut:
    """A part of a weight.

    Attributes:
        dim: the dimension that is cut.
        spans: what is held of it, one after the other.
        whole: how wide it is.
    """

    dim: int
    spans: tuple[slice, ...]
    whole: int

    @property
    def width(self) -> int:
        """How much is held of ``whole``."""
        return sum(span.stop - span.start for span in self.spans)


def check_ranks(family: Family, config: Any, size: int) -> None:
    """Raise ``BadInput`` where a model of this configuration has fewer key-value heads than ranks."""
    _, shared = family.heads(config)
    if size > shared:
        raise BadInput(
            f"--tensor-parallel {size}: the model has {shared} key-value heads, and each rank holds at least "
            f"one; give at most {shared}"
        )


def heads_of(family: Family, config: Any, rank: Rank) -> tuple[int, int]:
    """Query heads and key-value heads that a rank holds."""
    heads, shared = family.heads(config)
    mine = rank.part(shared)
    count = mine.stop - mine.start
    return count * heads // shared, count


def cuts(family: Family, config: Any, shapes: Mapping[str, tuple[int, ...]], rank: Rank) -> dict[str, Cut]:
    """What a rank holds of every weight that is cut; of the others it holds all.

    Args:
        family: of the model.
        config: of the model.
        shapes: of every weight of the whole model, by name.
        rank: which one.
    """
    found = {
        name: cut for name, cut in _candidates(family, config, shapes, rank) if name in shapes and cut.spans
    }
    head = f"{family.head}.weight"
    found[head] = _even(1, shapes[head][1], rank)
    return found


def _candidates(
    family: Family, config: Any, shapes: Mapping[str, tuple[int, ...]], rank: Rank
) -> Iterator[tuple[str, Cut]]:
    for layer in range(config.num_hidden_layers):
        within = f"{family.decoder}.{family.layers}.{layer}"
        yield from _attention_cuts(family, config, f"{within}.{family.attention}", rank, shapes)
        yield from _mlp_cuts(family, f"{within}.{family.mlp}", rank, shapes)


def _attention_cuts(
    family: Family, config: Any, within: str, rank: Rank, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, Cut]]:
    heads, shared = family.heads(config)
    width, mine = family.head_width(config), rank.part(shared)
    queries = _scaled(mine, heads // shared * width)
    keys = _scaled(mine, width)
    all_queries, all_keys = heads * width, shared * width
    query, key = Cut(0, (queries,), all_queries), Cut(0, (keys,), all_keys)
    stacked = Cut(
        0,
        (queries, _moved(keys, all_queries), _moved(keys, all_queries + all_keys)),
        all_queries + 2 * all_keys,
    )
    by_head = Cut(0, (_scaled(mine, 3 * width),), 3 * all_queries)
    both = ("weight", "bias")
    for part in both:
        yield f"{within}.{family.query}.{part}", query
        yield f"{within}.{family.key}.{part}", key
        yield f"{within}.{family.value}.{part}", key
        if family.qkv is not None:
            yield f"{within}.{family.qkv}.{part}", by_head if family.qkv_layout == "by_head" else stacked
    yield f"{within}.{family.output}.weight", Cut(1, (queries,), all_queries)
    for norm, own, count in (
        (family.query_norm, queries, heads),
        (family.key_norm, keys, shared),
    ):
        for part in both:
            name = f"{within}.{norm}.{part}"
            # Over all heads together, or each head by weights of its own; one for all heads is held by all.
            if family.norm_over == "width":
                yield name, Cut(0, (own,), count * width)
            elif len(shapes.get(name, ())) == 2:
                yield name, Cut(0, (slice(own.start // width, own.stop // width),), count)


def _mlp_cuts(
    family: Family, within: str, rank: Rank, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, Cut]]:
    for mlp in (within, f"{within}.shared_expert"):
        down = f"{mlp}.{family.down}.weight"
        if down not in shapes:
            continue
        inner = shapes[down][1]
        for part in ("weight", "bias"):
            yield f"{mlp}.{family.up}.{part}", _even(0, inner, rank)
            if family.gate is not None:
                yield f"{mlp}.{family.gate}.{part}", _even(0, inner, rank)
            if family.gate_up is not None:
                yield f"{mlp}.{family.gate_up}.{part}", _twice(0, inner, rank)
        yield down, _even(1, inner, rank)
    down = f"{within}.experts.down_proj"
    if down in shapes:
        inner = shapes[down][2]
        yield f"{within}.experts.gate_up_proj", _twice(1, inner, rank)
        yield down, _even(2, inner, rank)


def _even(dim: int, width: int, rank: Rank) -> Cut:
    return Cut(dim, (rank.part(width, GRAIN),), width)


def _twice(dim: int, width: int, rank: Rank) -> Cut:
    """Of two as wide, one after the other."""
    mine = rank.part(width, GRAIN)
    return Cut(dim, (mine, _moved(mine, width)), 2 * width)


def _scaled(span: slice, factor: int) -> slice:
    return slice(span.start * factor, span.stop * factor)


def _moved(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)
