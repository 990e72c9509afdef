"""The package ``flashspec`` with its prompt lookup: all that it has for a model without a smaller sibling."""

from __future__ import annotations

import logging
import time

import torch

from benchmarks.peers.peer import AUTOREGRESSIVE, Decoded, Prompts, Setting, alone, on_cpu, package
from benchmarks.peers.transformers_model import load_untouched


class FlashspecLookup:
    """Its eager loop, which is what it runs on a CPU."""

    name = "flashspec lookup"
    about = "flashspec's loop over transformers' modules, eager; its fast path needs CUDA"

    def __init__(self, setting: Setting) -> None:
        alone(self.name, setting)
        on_cpu(self.name, setting)
        self.beside = AUTOREGRESSIVE
        flashspec, engine = package("flashspec"), package("flashspec.engine")
        logging.getLogger("flashspec").setLevel(logging.ERROR)
        device, dtype = torch.device("cpu"), getattr(torch, setting.dtype)
        config = flashspec.FlashSpecConfig(
            device="cpu",
            dtype=setting.dtype,
            drafter_strategy="bandit",  # with one arm: no choosing
            bandit=flashspec.BanditConfig(n_arms=1),
            sampling=flashspec.SamplingConfig(temperature=0.0, gamma=setting.lookup_tokens),
            compile=False,
        )
        model = load_untouched(setting.folder, setting.dtype)
        target = engine.TargetModel(str(setting.folder), device, dtype, model=model)
        self._engine = flashspec.SpeculativeEngine(config, [engine.NgramDrafter()], target)

    def decode(self, prompts: Prompts, tokens: int) -> Decoded:
        """Timed by its own steps; the first has the prompt in it, and whatever it accepted at once."""
        begin = time.perf_counter()
        with torch.inference_mode():
            found = self._engine.generate(torch.tensor([list(prompts[0])]), max_new_tokens=tokens)
        whole_s = time.perf_counter() - begin
        steps = found.arm_steps
        decode_s = sum(step.seconds for step in steps[1:])
        output = tuple(found.output_ids[0, : found.n_tokens_generated].tolist())
        return Decoded((output,), whole_s - decode_s, decode_s, sum(step.emitted for step in steps[1:]))
