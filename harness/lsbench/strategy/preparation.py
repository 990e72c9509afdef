"""What a strategy may calibrate on before anything is timed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lsbench.engine import DecoderStack
    from lsbench.strategy.predicted_tokens import PredictedTokens

T = TypeVar("T")


@dataclass(frozen=True)
class Preparation:
    """A loaded model and a few prompts that are never the evaluated ones.

    Attributes:
        stack: the model.
        calibration_prompts: token ids of each calibration prompt.
    """

    stack: DecoderStack
    calibration_prompts: tuple[tuple[int, ...], ...]

    @property
    def num_layers(self) -> int:
        """L."""
        return self.stack.num_layers

    @property
    def sublayer_bytes(self) -> tuple[int, ...]:
        """Bytes of weights a token reads in each of the 2L sub-layers."""
        return self.stack.sublayer_bytes

    @cached_property
    def influence(self) -> npt.NDArray[np.float64]:
        """[2L] block influence of each sub-layer on the calibration prompts, measured once for all."""
        from lsbench.engine import block_influence

        return self.stack.agreement.array(block_influence(self.stack, self.calibration_prompts))

    @cached_property
    def predicted_tokens(self) -> PredictedTokens:
        """What the full model predicts on the calibration prompts, likewise."""
        from lsbench.strategy.predicted_tokens import predicted_tokens

        return predicted_tokens(self.stack, self.calibration_prompts)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, which runs at the first call with this key alone.

        A search prepares many candidates on one model: what does not depend on a candidate's own options is
        measured for the first of them.

        Args:
            key: of what is measured, and of all options that it depends on; begin it with the name of the
                module, which no other uses.
            make: measures it.
        """
        if key not in self._made:
            self._made[key] = make()
        return cast(T, self._made[key])

    @cached_property
    def _made(self) -> dict[Hashable, Any]:
        return {}
