"""transformers' own ``generate`` on a model that the engine never touched, with a stopwatch on its output."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.utils import logging

from benchmarks.peers.peer import AUTOREGRESSIVE, Decoded, Prompts, Setting


def load_untouched(folder: Path, dtype: str, device: str = "cpu") -> Any:
    """A copy of the model, of whose generation only what a call says holds."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # Some peers call transformers' modules in an old way.
    warnings.filterwarnings("ignore", ".*past_key_values. is deprecated", FutureWarning)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True)
    model.to(device).requires_grad_(False).eval()
    # A checkpoint's own defaults (a penalty, an end of sequence) fill every field that a call leaves open.
    model.generation_config = GenerationConfig()
    return model


class Stopwatch:
    """A streamer, as ``generate`` takes one: notes when tokens come, and how many each time.

    They are handed to it on the CPU, so that a device has been waited for.
    """

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.tokens: list[int] = []
        self._prompt_seen = False

    def put(self, value: Tensor) -> None:
        """Note the time; the first call is the prompt's, and is passed over."""
        if self._prompt_seen:
            self.times_s.append(time.perf_counter())
            self.tokens.append(value.numel())
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing is left to note."""


class TransformersPeer:
    """What the ways of calling ``generate`` share; a subclass says how it is called."""

    name: ClassVar[str]
    about: ClassVar[str] = "transformers' own loop, cache and modules, eager"

    def __init__(self, setting: Setting) -> None:
        self.beside = AUTOREGRESSIVE
        self._setting = setting
        self._model = load_untouched(setting.folder, setting.dtype, setting.device)
        for field, value in self.draft_options().items():
            setattr(self._model.generation_config, field, value)

    def call_options(self) -> dict[str, Any]:
        """Fields of ``GenerationConfig`` that make the call this method."""
        return {}

    def draft_options(self) -> dict[str, Any]:
        """Fields that ``generate`` reads off the drafting model's own configuration instead."""
        return {}

    def decode(self, prompts: Prompts, tokens: int) -> Decoded:
        """Prompts of different lengths are padded on the left."""
        longest = max(map(len, prompts))
        device = self._setting.device
        ids = torch.tensor(
            [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device
        )
        mask = torch.tensor(
            [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device
        )
        config = GenerationConfig(
            do_sample=False, max_new_tokens=tokens, pad_token_id=0, eos_token_id=None, **self.call_options()
        )
        watch = Stopwatch()
        begin = time.perf_counter()
        with torch.inference_mode():
            output = self._model.generate(ids, attention_mask=mask, generation_config=config, streamer=watch)
        return Decoded(
            outputs=tuple(tuple(row) for row in output[:, longest:].tolist()),
            first_s=watch.times_s[0] - begin,
            decode_s=watch.times_s[-1] - watch.times_s[0],
            decoded=sum(watch.tokens[1:]),
        )
