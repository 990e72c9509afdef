"""Every check in the order it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from lsbench.doctor.compute import accelerators, compiler, few_row_products, ninja, processor
from lsbench.doctor.finding import Finding
from lsbench.doctor.generated_code import sandbox
from lsbench.doctor.plugins import strategies
from lsbench.doctor.processes import left_behind, shards, shared_memory
from lsbench.doctor.software import packages, python, scale, torch_itself
from lsbench.doctor.sources import data, embedded_model, hub
from lsbench.doctor.space import disk, memory

Check = Callable[[], Finding | Iterable[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("Python", python),
    ("packages", packages),
    ("torch", torch_itself),
    ("processor", processor),
    ("accelerator", accelerators),
    ("memory", memory),
    ("cache folder", disk),
    ("embedded model", embedded_model),
    ("HumanEval", data),
    ("hub", hub),
    ("sandbox", sandbox),
    ("strategies", strategies),
    ("compiler", compiler),
    ("ninja", ninja),
    ("few-row products", few_row_products),
    ("Ray, DeepSpeed", scale),
    ("shards", shards),
    ("shared memory", shared_memory),
    ("killed runs", left_behind),
)
"""What is looked at, by name."""


def examine(checks: Sequence[tuple[str, Check]] = CHECKS) -> Iterator[Finding]:
    """Look at everything, one after the other; a check that fails itself is a finding too."""
    for name, check in checks:
        try:
            found = check()
            yield from (found,) if isinstance(found, Finding) else tuple(found)
        except Exception as error:  # whatever is broken here is what was looked for
            reason = " ".join(str(error).split()) or "no message"
            yield Finding(name, "missing", f"cannot be looked at: {type(error).__name__}: {reason}")
