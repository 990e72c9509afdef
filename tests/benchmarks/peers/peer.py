"""What every side of the comparison is: something that continues prompts and says when tokens came."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Prompts = Sequence[Sequence[int]]
"""Token ids of prompts that decode together; one prompt unless the batch size is above 1."""


class CannotRun(Exception):
    """Why a peer takes no part, in one line."""


@dataclass(frozen=True)
class Setting:
    """What all sides have in common.

    Attributes:
        folder: the model, as transformers reads it.
        scratch: where files may be written; removed at the end.
        dtype: of weights and cache, ``float32`` or ``bfloat16``.
        device: where the model is.
        threads: that compute, on a CPU.
        batch_size: the most prompts that decode together.
        capacity: the most positions of a sequence, prompt and output.
        exit_layer: where those who draft by exiting early exit, 1..L-1.
        num_speculations: how many tokens they draft a cycle.
        lookup_tokens: how many those draft who look them up in the text, at most.
    """

    folder: Path
    scratch: Path
    dtype: str
    device: str
    threads: int
    batch_size: int
    capacity: int
    exit_layer: int
    num_speculations: int
    lookup_tokens: int


@dataclass(frozen=True)
class Decoded:
    """What became of prompts that decoded together.

    Attributes:
        outputs: token ids of each, the prompt not among them.
        first_s: seconds from the call until all had their first output.
        decode_s: seconds from then until the last token of all.
        decoded: tokens that came in ``decode_s``: all but those of each sequence's first output.
    """

    outputs: tuple[tuple[int, ...], ...]
    first_s: float
    decode_s: float
    decoded: int


class Peer(Protocol):
    """A side of the comparison, made from a ``Setting``; raises ``CannotRun`` when it is made or used."""

    name: str
    beside: tuple[str, ...]
    """Strategies of ours that it is compared with, as ``--strategy`` takes them."""
    about: str
    """What its figures cannot be read without, in one line."""

    def decode(self, prompts: Prompts, tokens: int) -> Decoded:
        """Continue every prompt greedily by exactly ``tokens`` tokens; none ends earlier."""
        ...


AUTOREGRESSIVE: tuple[str, ...] = ("autoregressive",)


def beside_early_exit(setting: Setting) -> tuple[str, ...]:
    """What drafts with the same layers as many tokens, by all of the head or a part, and what does not."""
    draft = f"self_speculative:draft=static_exit,draft.exit_layer={setting.exit_layer}"
    with_all = f"{draft},num_speculations={setting.num_speculations}"
    return (with_all, f"{with_all},draft.vocab=auto", *AUTOREGRESSIVE)


def package(name: str) -> Any:
    """An optional package, imported.

    Raises:
        CannotRun: it is not installed, or does not load here.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise CannotRun(f"{name} needs {error.name}, which is not installed") from error
        raise CannotRun(f"{name} is not installed; pip install 'lsbench[peers]'") from error
    except (ImportError, OSError) as error:
        raise CannotRun(f"{name} does not load here: {error}") from error


def on_cpu(name: str, setting: Setting) -> None:
    """Refuse other devices.

    Raises:
        CannotRun: the setting asks for one.
    """
    if setting.device != "cpu":
        raise CannotRun(f"{name} is set up for a CPU here; leave --device at cpu")


def alone(name: str, setting: Setting) -> None:
    """Refuse batches.

    Raises:
        CannotRun: the setting asks for one.
    """
    if setting.batch_size > 1:
        raise CannotRun(f"{name} decodes one sequence at a time; leave --batch-size at 1")
