"""Where a run takes place: pure, from what was asked."""

from __future__ import annotations

from dataclasses import dataclass

from lsbench.errors import BadInput
from lsbench.spec import RunSpec


@dataclass(frozen=True)
class Placement:
    """How many processes run the model, and how many sequences each decodes together.

    Attributes:
        tensor_parallel: ranks that share one copy of the model.
        replicas: copies of the model.
        batch_size: sequences decoded together.
    """

    tensor_parallel: int
    replicas: int
    batch_size: int


def place(spec: RunSpec) -> Placement:
    """The placement that a run asks for.

    Raises:
        BadInput: more than this version can place; nothing asked for is silently ignored.
    """
    if spec.tensor_parallel > 1 or spec.replicas > 1:
        asked = "--tensor-parallel" if spec.tensor_parallel > 1 else "--replicas"
        value = spec.tensor_parallel if spec.tensor_parallel > 1 else spec.replicas
        raise BadInput(f"{asked} {value}: this version runs one process; leave it at 1")
    return Placement(spec.tensor_parallel, spec.replicas, spec.batch_size)
