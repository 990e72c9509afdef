"""transformers' decoding step under ``torch.compile``: compiled before it is first timed, and kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor

from lsbench.engine import DecoderStack, set_aside
from lsbench.strategy import CannotRun

_LEAST_CAPACITY = 256
_TRIED_TOKENS = 4
_TRIED_TIMES = 2
"""CUDA graphs are recorded at the second run of a compiled step, and another cache makes it another step."""


class CompiledStep:
    """What ``generate`` needs in order to compile seldom: one model object, few sizes of the cache."""

    how: Any = None
    """transformers' ``CompileConfig``; None is its own choice."""

    def __init__(self) -> None:
        self._model: Any = None
        self._of: object = None
        self._largest = 0
        self._ready: set[tuple[int, int]] = set()

    def check(self, stack: DecoderStack) -> None:
        """Whether the step can be compiled here.

        Raises:
            CannotRun: it cannot.
        """
        if stack.device.type != "cuda":
            raise CannotRun("transformers compiles its decoding step on CUDA alone; leave out compile=true")
        if stack.agreement.size > 1:
            raise CannotRun("ranks that share a model are not compiled; leave --tensor-parallel at 1")

    def model(self, model: object, make: Callable[[], Any]) -> Any:
        """What ``make`` gives for the first time, as long as ``model`` is the same."""
        if self._of is not model:
            self._of, self._model = model, make()
            self._largest = 0
            self._ready.clear()
        return self._model

    def capacity(self, positions: int) -> int:
        """Positions of a cache that holds so many: a power of two, and never less than before."""
        self._largest = max(self._largest, _LEAST_CAPACITY, 1 << (positions - 1).bit_length())
        return self._largest

    def get_ready(self, model: Any, config: Any, ids: Tensor, mask: Tensor) -> None:
        """Have the step of a call compiled: by a few tokens that nobody sees, while no clock runs.

        Args:
            model: that is called.
            config: of the call.
            ids: [B, P] prompts.
            mask: [B, P] 1 where they are a prompt's.
        """
        kind = config.max_cache_len, ids.shape[0]
        if kind in self._ready:
            return
        tried = copy.copy(config)
        tried.max_new_tokens = tried.min_new_tokens = _TRIED_TOKENS
        with set_aside(ids.device):
            for _ in range(_TRIED_TIMES):
                model.generate(ids, attention_mask=mask, generation_config=tried)
        self._ready.add(kind)
