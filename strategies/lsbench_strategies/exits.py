"""What strategies that exit early share."""

from __future__ import annotations

from lsbench.strategy import BadInput


def check_exit_layer(strategy: str, option: str, layer: int, num_layers: int) -> None:
    """Refuse an exit layer that the model does not have.

    Raises:
        BadInput: ``layer`` is outside 1..``num_layers``.
    """
    if not 1 <= layer <= num_layers:
        raise BadInput(f"--strategy {strategy}: {option}={layer}, but the model's layers are 1..{num_layers}")
