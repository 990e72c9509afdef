"""The package ``economize``: its own decoding loop over a transformers model that stays as it is."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import torch

from benchmarks.peers.peer import AUTOREGRESSIVE, Decoded, Prompts, Setting, on_cpu, package
from benchmarks.peers.transformers_model import load_untouched


class EconomizePeer:
    """What economize's techniques share; a subclass names its technique."""

    name: ClassVar[str]
    about: ClassVar[str] = "economize's loop and cache over transformers' modules, eager"

    def __init__(self, setting: Setting) -> None:
        on_cpu(self.name, setting)
        self.beside = AUTOREGRESSIVE
        economize = package("economize")
        decoding = economize.DecodeConfig(cycle_length=self.drafted(setting) + 1)
        model = load_untouched(setting.folder, setting.dtype)
        self._model = economize.apply(model, self.technique(setting), decoding=decoding)

    def technique(self, setting: Setting) -> Any:
        """The configuration of what drafts."""
        raise NotImplementedError

    def drafted(self, setting: Setting) -> int:
        """Tokens drafted a cycle, at most."""
        raise NotImplementedError

    def decode(self, prompts: Prompts, tokens: int) -> Decoded:
        """Timed by a stop condition that never holds: it is first asked when the prompts are through."""
        first: list[float] = []

        def watch(_: torch.Tensor) -> bool:
            if not first:
                first.append(time.perf_counter())
            return False

        begin = time.perf_counter()
        rows = [torch.tensor(prompt) for prompt in prompts]
        with torch.inference_mode():
            found = self._model.decode_batch(rows, tokens, stop=watch)
        end = time.perf_counter()
        # A row's last token is not asked about: with a single one all was the first output.
        middle = first[0] if first else end
        outputs = tuple(tuple(each.tokens.tolist()) for each in found)
        return Decoded(outputs, middle - begin, end - middle, sum(len(output) - 1 for output in outputs))
