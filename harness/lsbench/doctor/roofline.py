"""The roofline of a model on this machine: memory bandwidth, and every part of a step beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsbench.errors import BadInput, unknown
from lsbench.spec import INT8_WEIGHTS

if TYPE_CHECKING:
    from lsbench.catalog import Progress
    from lsbench.execution.roofline import StepProfile
    from lsbench.records import Bandwidth

DTYPES = ("float32", "bfloat16", "float16", "float64", INT8_WEIGHTS)
USUAL_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Roofline:
    """What was measured.

    Attributes:
        model: its name.
        num_layers: L.
        device: where it ran.
        threads: of torch's CPU operators.
        load_average: runnable processes over the minute before; None where the system does not tell.
        bandwidth: of the device's memory, with these threads, the best of several times.
        profiles: steps of every width, by dtype.
    """

    model: str
    num_layers: int
    device: str
    threads: int
    load_average: float | None
    bandwidth: Bandwidth
    profiles: dict[str, tuple[StepProfile, ...]]


def take_roofline(
    model: str, dtypes: Sequence[str], device: str, threads: int | None, progress: Progress
) -> Roofline:
    """Measure memory bandwidth, and a step of every width in every dtype; about ten seconds a dtype.

    Args:
        model: as ``--model`` takes it.
        dtypes: by name, of ``DTYPES``.
        device: as ``--device`` takes it.
        threads: of torch's CPU operators; None leaves torch's own choice.
        progress: told of what is being done.

    Raises:
        BadInput: an unknown dtype, device or model, or no room to measure bandwidth.
        Unavailable: the model must be fetched and cannot be.
    """
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise unknown("--dtype", dtype, DTYPES)
    import torch

    from lsbench.catalog import resolve_model
    from lsbench.engine.loading import load_stack, model_facts, resolve_device, weight_type
    from lsbench.engine.native import products_for
    from lsbench.execution.bandwidth import measure_bandwidth
    from lsbench.execution.machine import use_threads
    from lsbench.execution.roofline import WIDTHS, profile_step
    from lsbench.store.machine import load_average

    load = load_average()
    place = torch.device(resolve_device(device))
    source = resolve_model(model, None, progress, model_facts)
    in_use = use_threads(threads)
    for dtype in dict.fromkeys(dtypes):  # what they are built and measured with must not be timed
        products_for(weight_type(dtype), place, lambda text: progress.update(text, 0, None))
    measured: list[Bandwidth | None] = []
    profiles: dict[str, tuple[StepProfile, ...]] = {}
    for dtype in dict.fromkeys(dtypes):
        progress.update("Reading memory", 0, None)
        measured.append(measure_bandwidth(place))
        progress.update(f"Loading {source.id} in {dtype}", 0, None)
        stack = load_stack(source.path, dtype, str(place))
        steps: list[StepProfile] = []
        for number, width in enumerate(WIDTHS):
            progress.update(f"Timing steps in {dtype}", number, len(WIDTHS))
            steps.append(profile_step(stack, width))
        profiles[dtype] = tuple(steps)
        del stack  # two copies of a model need not fit
    # Memory is shared with whatever else runs: the best of all times is nearest to what it gives.
    best = max(filter(None, measured), key=lambda bandwidth: bandwidth.bytes_per_second, default=None)
    if best is None:
        raise BadInput("Memory bandwidth cannot be measured: there is no room for the buffer that is read")
    layers = model_facts(source.path).num_layers
    return Roofline(source.id, layers, str(place), in_use, load[0] if load else None, best, profiles)
