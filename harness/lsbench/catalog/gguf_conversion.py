"""Turn a GGUF file into a transformers folder with plain float32 weights.

Run as ``python -m lsbench.catalog.gguf_conversion FILE FOLDER``, in a process of its own: what the
libraries print stays out of the caller's output, and the memory is given back. Progress goes to
stdout as lines ``Progress X of Y``; a refusal is the last line, with exit status 1.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lsbench.catalog.progress import SILENT, Progress
from lsbench.catalog.reporting_process import run_reporting
from lsbench.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RECIPE = "gguf-to-float32-safetensors-1"
"""Names what ``convert`` writes; change it with the content, and cached folders are made again."""

STEPS = 6
"""How often ``convert`` says that a step is done: libraries, configuration, load, write, tokenizer, read
back."""
_CONFIGURED = 2
"""The step after which the configuration is there."""


def convert_in_child(
    source: Path,
    destination: Path,
    progress: Progress = SILENT,
    check: Callable[[Path], object] | None = None,
) -> None:
    """Convert ``source`` into the existing folder ``destination``, in a process of its own.

    Args:
        source: the GGUF file.
        destination: an existing folder.
        progress: told of the steps.
        check: called with ``destination`` when it holds nothing but the configuration; what it raises stops
            the conversion and passes through.

    Raises:
        BadInput: the file is no GGUF file that transformers can read; the message says why.
    """
    command = [sys.executable, "-P", "-m", "lsbench.catalog.gguf_conversion", str(source), str(destination)]
    told = progress if check is None else _Checking(progress, lambda: check(destination))
    ended = run_reporting(command, f"Unpacking {source.name}", told, {"HF_HUB_OFFLINE": "1"})
    if ended.status != 0:
        raise BadInput(
            f"Cannot convert the GGUF file {source.name!r}: {ended.reason}. It must be a whole single-file "
            "GGUF model of an architecture that transformers reads."
        )


class _Checking:
    """A progress that has the configuration checked as soon as it is there."""

    def __init__(self, progress: Progress, check: Callable[[], object]) -> None:
        self._progress, self._check = progress, check

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Pass it on."""
        self._progress.update(stage, done, total)
        if done == _CONFIGURED:
            self._check()


def convert(source: Path, destination: Path, step_done: Callable[[], None]) -> None:
    """Write weights, tokenizer, configuration, generation configuration and chat template.

    Weights are dequantised to float32, which holds every GGUF value, and read back: what was
    written equals what was loaded, a tied head included.

    Args:
        source: the GGUF file.
        destination: an existing folder.
        step_done: called after each of the ``STEPS`` steps, which take seconds each.

    Raises:
        Exception: whatever transformers raises for a file it cannot read.
        RuntimeError: what was written does not equal what was loaded.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    step_done()
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    AutoConfig.from_pretrained(**where).save_pretrained(destination)
    step_done()
    loaded = AutoModelForCausalLM.from_pretrained(
        **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    step_done()
    loaded.save_pretrained(destination)
    step_done()
    AutoTokenizer.from_pretrained(**where).save_pretrained(destination)
    step_done()
    _check_equal(loaded, AutoModelForCausalLM.from_pretrained(str(destination), dtype=torch.float32))
    step_done()


def _check_equal(loaded: PreTrainedModel, written: PreTrainedModel) -> None:
    import torch

    before, after = loaded.state_dict(), written.state_dict()
    if before.keys() != after.keys():
        raise RuntimeError(f"tensors differ after writing: {sorted(before.keys() ^ after.keys())}")
    for name, tensor in before.items():
        if not torch.equal(tensor, after[name]):
            raise RuntimeError(f"tensor {name!r} differs after writing")
    was, now = (m.generation_config.eos_token_id for m in (loaded, written) if m.generation_config)
    if was != now:
        raise RuntimeError(f"end-of-sequence ids differ after writing: {was} became {now}")


def _main(source: str, destination: str) -> int:
    done = itertools.count(1)
    try:
        convert(
            Path(source), Path(destination), lambda: print(f"Progress {next(done)} of {STEPS}", flush=True)
        )
    except Exception as error:
        text = " ".join(str(error).split())
        print(f"ERROR: {type(error).__name__}: {text}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
