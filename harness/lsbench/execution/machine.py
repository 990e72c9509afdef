"""What this process uses of the machine: threads and devices."""

from __future__ import annotations


def use_threads(wanted: int | None) -> int:
    """Set how many threads torch's CPU operators use; None leaves torch's own choice.

    Returns:
        the number in use.
    """
    import torch

    if wanted is not None:
        torch.set_num_threads(wanted)
    return torch.get_num_threads()


def devices(device: str) -> tuple[str, ...]:
    """Names of the accelerators that ``device`` stands for; none for a CPU."""
    import torch

    if not device.startswith("cuda"):
        return ()
    return (torch.cuda.get_device_name(torch.device(device)),)
