"""Weights in huge pages, where the system gives them on request: as Linux mostly does.

A step walks through every weight. In pages of 4 KB the processor looks up an address for each of them and its
prefetching ends at each; in pages of 2 MB it hardly ever does. ``docs/performance.md`` has what that gains.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lsbench.engine.mapped_files import letting_go

_PAGE = 2 << 20
_APART = 64
"""Bytes to whose multiples torch aligns memory."""
_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def huge_pages(num_bytes: int, mode: Path = _MODE) -> Tensor | None:
    """Memory that begins with a page and that the system was asked to lay out in huge ones.

    Args:
        num_bytes: how much.
        mode: where the system says whether it does so.

    Returns:
        uint8 [num_bytes], zeros, which take room as they are written; None where the system does not.
    """
    try:
        if "[never]" in mode.read_text(encoding="ascii"):
            return None
        memory = mmap.mmap(-1, num_bytes + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except (AttributeError, OSError, ValueError):  # another system, no such pages, or no room
        return None
    whole = torch.frombuffer(memory, dtype=torch.uint8)  # keeps the memory for as long as it is used
    begin = -whole.data_ptr() % _PAGE
    return whole[begin : begin + num_bytes]


class _Place(NamedTuple):
    """Where a weight is held."""

    module: nn.Module
    name: str

    @property
    def weight(self) -> nn.Parameter:
        return cast(nn.Parameter, getattr(self.module, self.name))


def place_in_huge_pages(modules: Iterable[nn.Module]) -> int:
    """Give modules their weights there, one after the other, so that no two copies of all exist at any time.

    What shared memory goes on sharing it: tied weights, and views of fused ones. Parameters are replaced, not
    changed: whoever else holds an old one may go on using it.

    Args:
        modules: all that hold weights on a CPU, without their children.

    Returns:
        bytes moved; 0 where the system has no huge pages for it.
    """
    sharing: dict[int, dict[_Place, None]] = {}
    sizes: dict[int, int] = {}
    for module in modules:
        for name, weight in module.named_parameters(recurse=False):
            storage = weight.untyped_storage()
            sharing.setdefault(storage.data_ptr(), {})[_Place(module, name)] = None
            sizes[storage.data_ptr()] = -(-storage.nbytes() // _APART) * _APART
    memory = huge_pages(sum(sizes.values())) if sharing else None
    if memory is None:
        return 0
    begin = 0
    for address, together in letting_go(sharing.items()):
        _move(tuple(together), memory[begin:])
        begin += sizes[address]
    return begin


def _move(together: tuple[_Place, ...], memory: Tensor) -> None:
    """What shares one storage, to the beginning of ``memory``, which becomes a storage of its own."""
    old, begin = together[0].weight.untyped_storage(), memory.storage_offset()
    new = _bytes_of(memory.untyped_storage()[begin : begin + old.nbytes()])
    new.copy_(_bytes_of(old))
    moved: dict[nn.Parameter, nn.Parameter] = {}
    for place in together:
        weight = place.weight
        if weight not in moved:
            view = new.view(weight.dtype).as_strided(weight.shape, weight.stride(), weight.storage_offset())
            moved[weight] = nn.Parameter(view, requires_grad=weight.requires_grad)
        setattr(place.module, place.name, moved[weight])


def _bytes_of(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage)
