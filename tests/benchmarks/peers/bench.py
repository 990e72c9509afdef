"""Our sides, loaded once, beside one peer after the other."""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import cast

import torch

from benchmarks.peers.agreement import disagreement
from benchmarks.peers.comparison import compare_decoding, compare_prefill
from benchmarks.peers.ours import Ours
from benchmarks.peers.peer import CannotRun, Peer, Prompts, Setting
from lsbench.catalog import prepare_data
from lsbench.engine.loading import load_stack, load_tokenizer
from lsbench.store.machine import load_average

PEERS = {
    "transformers": "transformers_generate:TransformersGenerate",
    "transformers_compiled": "transformers_compiled:TransformersCompiled",
    "transformers_early_exit": "transformers_early_exit:TransformersEarlyExit",
    "transformers_prompt_lookup": "transformers_prompt_lookup:TransformersPromptLookup",
    "llama_cpp": "llama_cpp:LlamaCpp",
    "economize_early_exit": "economize_early_exit:EconomizeEarlyExit",
    "economize_lookup": "economize_lookup:EconomizeLookup",
    "flashspec_lookup": "flashspec_lookup:FlashspecLookup",
}
CHECKED_TOKENS = 32
CHECKED_PROMPTS = 3


class Bench:
    """Our sides, loaded once, and the prompts.

    Args:
        asked: the command's options.
        folder: the model.
        scratch: for the peers' files.
    """

    def __init__(self, asked: argparse.Namespace, folder: Path, scratch: Path) -> None:
        self._tokenizer = load_tokenizer(folder)
        self._checked_stack = load_stack(folder, "float32", asked.device)
        same = asked.dtype == "float32"
        self._stack = self._checked_stack if same else load_stack(folder, asked.dtype, asked.device)
        self._tokens = asked.tokens
        lines = prepare_data("humaneval").read_text(encoding="utf-8").splitlines()
        texts = [self._tokenizer(json.loads(line)["prompt"])["input_ids"] for line in lines]
        self._turns = _grouped(texts[: asked.prompts], asked.batch_size)
        checked = texts[: max(CHECKED_PROMPTS, asked.batch_size)]
        self._checked = _grouped(checked, asked.batch_size)
        self._long: list[Prompts] = []
        if asked.prefill:
            whole = [token for text in texts for token in text]
            pieces = len(whole) // asked.prefill
            long = [whole[n * asked.prefill :][: asked.prefill] for n in range(min(asked.prompts, pieces))]
            self._long = _grouped(long, asked.batch_size)
        output = max(asked.tokens, CHECKED_TOKENS)
        longest = max(len(prompt) for turn in (*self._turns, *self._checked, *self._long) for prompt in turn)
        self._setting = Setting(
            folder=folder,
            scratch=scratch,
            dtype=asked.dtype,
            device=asked.device,
            threads=torch.get_num_threads(),
            batch_size=asked.batch_size,
            capacity=longest + output,
            exit_layer=asked.exit_layer,
            num_speculations=asked.num_speculations,
            lookup_tokens=asked.lookup_tokens,
        )
        self._ours: dict[str, Ours] = {}
        self._reference = Ours(self._checked_stack, self._tokenizer, "autoregressive")

    def run(self, names: Sequence[str]) -> None:
        """One peer after the other: who has had their turn is unloaded."""
        for name in names:
            print(f"{name} (load average {_load()}):", flush=True)
            try:
                self._compare(name)
            except CannotRun as reason:
                print(f"  not run: {reason}")
            except Exception as failure:  # other people's code: the rows of the others still count
                print(f"  failed: {type(failure).__name__}: {' '.join(str(failure).split())}")
            gc.collect()

    def _compare(self, name: str) -> None:
        module, _, kind = PEERS[name].partition(":")
        make = cast(Callable[[Setting], Peer], getattr(import_module(f"benchmarks.peers.{module}"), kind))
        precise = replace(self._setting, dtype="float32")
        peer = make(precise)
        why = disagreement(self._checked_stack, self._reference, peer, self._checked, CHECKED_TOKENS)
        if why is not None:
            raise CannotRun(f"this is not the same model: {why}")
        if self._setting != precise:
            del peer
            gc.collect()
            peer = make(self._setting)
        print(f"  {peer.about}")
        for strategy in peer.beside:
            print(compare_decoding(self._side(strategy), peer, self._turns, self._tokens), flush=True)
        if self._long:
            print(compare_prefill(self._side(peer.beside[-1]), peer, self._long), flush=True)

    def _side(self, strategy: str) -> Ours:
        if strategy not in self._ours:
            self._ours[strategy] = Ours(self._stack, self._tokenizer, strategy)
        return self._ours[strategy]


def _grouped(prompts: Sequence[Sequence[int]], size: int) -> list[Prompts]:
    """Groups of ``size``; what is left over is left out, so that all turns are alike."""
    return [prompts[begin : begin + size] for begin in range(0, len(prompts) - size + 1, size)]


def _load() -> str:
    load = load_average()
    return "unknown" if load is None else f"{load[0]:.2f}"
