"""What strategies that name layers share."""

from __future__ import annotations

from lsbench.strategy import BadInput


def check_layer(strategy: str, option: str, layer: int, num_layers: int) -> None:
    """Refuse a layer that the model does not have.

    Raises:
        BadInput: ``layer`` is outside 1..``num_layers``.
    """
    if not 1 <= layer <= num_layers:
        raise BadInput(
            f"--strategy {strategy}: {option} names layer {layer}, but the model has 1..{num_layers}"
        )
