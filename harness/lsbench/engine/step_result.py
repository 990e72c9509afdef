"""What a session gives of a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """What a step gave.

    Attributes:
        logits: [B, T, V]; minus infinity for tokens that the step's head leaves out.
        layers_run: [B, T] float64; a layer run in part counts its share of weight bytes.
        flags: for each sequence, for each of its tokens, 2L flags of the sub-layers it ran.
    """

    logits: Tensor
    layers_run: npt.NDArray[np.float64]
    flags: tuple[tuple[tuple[bool, ...], ...], ...]

    @cached_property
    def runs(self) -> npt.NDArray[np.bool_]:
        """[B, T, 2L] ``flags``."""
        return np.array(self.flags, dtype=bool)
