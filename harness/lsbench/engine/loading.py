"""From a folder to a model in memory."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lsbench.engine.families import context_length, family_for, family_of
from lsbench.errors import BadInput
from lsbench.spec import INT8_WEIGHTS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a checkpoint without loading its weights.

    Attributes:
        num_layers: L.
        context_length: the most positions the model runs on.
        eos_token_ids: every id that ends a generation.
        model_type: the architecture, as transformers names it.
        has_experts: some of its MLPs are mixtures of experts.
    """

    num_layers: int
    context_length: int
    eos_token_ids: tuple[int, ...]
    model_type: str
    has_experts: bool


def resolve_device(name: str) -> str:
    """``auto`` is CUDA where there is any, else the CPU.

    Raises:
        BadInput: not a device of torch, or one this machine lacks.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"--device {name!r} is not a device; write auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise BadInput(f"--device {name!r}: the engine runs on cpu and cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"--device {name!r}: torch finds no CUDA device here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"--device {name!r}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return name


def resolve_dtype(name: str, device: str) -> str:
    """``auto`` is float32 on the CPU and bfloat16 on CUDA."""
    if name != "auto":
        return name
    return "bfloat16" if device.startswith("cuda") else "float32"


def weight_type(dtype: str) -> torch.dtype:
    """What holds the weights of products, in a precision by the name that ``resolve_dtype`` gives."""
    import torch

    return torch.int8 if dtype == INT8_WEIGHTS else getattr(torch, dtype)


def model_facts(path: Path) -> ModelFacts:
    """Read a checkpoint's configuration.

    Raises:
        BadInput: the folder has no readable configuration.
        UnsupportedModel: no family declares its architecture, or it asks for what the engine cannot do.
    """
    written = _written_model_type(path)
    if written is not None:
        family_of(written)  # transformers may not know it either, or would have to run code it brings
    config, generation = _configs(path)
    family_for(config)
    eos = generation.eos_token_id if generation is not None and generation.eos_token_id is not None else None
    eos = config.eos_token_id if eos is None else eos
    ids = () if eos is None else tuple(eos) if isinstance(eos, list | tuple) else (eos,)
    experts = any(getattr(config, name, None) for name in ("num_experts", "num_local_experts"))
    return ModelFacts(config.num_hidden_layers, context_length(config), ids, config.model_type, experts)


def configuration(path: Path) -> Any:
    """A checkpoint's transformers configuration.

    Raises:
        BadInput: the folder has none that can be read.
    """
    return _configs(path)[0]


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer.

    Raises:
        BadInput: the folder holds none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} holds no tokenizer that transformers can read: {_first_line(error)}"
        ) from error


def blank_model(path: Path, dtype: torch.dtype) -> Any:
    """A checkpoint's model without weights: these are on torch's meta device, and take no memory.

    Args:
        path: a transformers folder.
        dtype: of the weights to come.

    Raises:
        BadInput: the folder has no readable configuration.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    config, generation = _configs(path)
    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if generation is not None:
        model.generation_config = generation
    return model.requires_grad_(False).eval()


def blank_like(model: Any) -> Any:
    """The same for a transformers model that has weights."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        blank: Any = type(model)(copy.deepcopy(model.config))
    blank.generation_config = model.generation_config
    return blank.to(next(model.parameters()).dtype).requires_grad_(False).eval()


def whole_model(path: Path, dtype: torch.dtype) -> Any:
    """A checkpoint's model with all of its weights, on the CPU.

    Raises:
        BadInput: the weights cannot be read.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        with _no_progress_bar():
            return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(f"{path} holds no weights that transformers can read: {_first_line(error)}") from error


def load_stack(path: Path, dtype: str, device: str) -> DecoderStack:
    """Load the weights and make them addressable by depth.

    Args:
        path: a transformers folder.
        dtype: a torch dtype by name, or ``int8wo``: float32 with int8 weights. They are rounded one module at
            a time, so that no more memory is needed than in float32.
        device: where to put it.

    Raises:
        BadInput: the weights cannot be read, or the environment asks for products that there are not.
        UnsupportedModel: no family declares the architecture, or it asks for what the engine cannot do; no
            weight is read then.
    """
    model_facts(path)
    import torch

    from lsbench.engine.native.library import wanted
    from lsbench.engine.quantized import quantize
    from lsbench.engine.stack import DecoderStack

    wanted()
    precision: torch.dtype = torch.float32 if dtype == INT8_WEIGHTS else getattr(torch, dtype)
    model = whole_model(path, precision)
    if dtype == INT8_WEIGHTS:
        quantize(model)
    return DecoderStack(model.to(device))


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Without transformers' own bar, which would be drawn across whatever shows the run's progress."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _written_model_type(path: Path) -> str | None:
    """``model_type`` as config.json has it; None where that says nothing."""
    try:
        content: object = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # transformers says what is wrong with it
    written = cast("dict[str, object]", content).get("model_type") if isinstance(content, dict) else None
    return written if isinstance(written, str) else None


def _configs(path: Path) -> tuple[Any, Any]:
    from transformers import AutoConfig, GenerationConfig

    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} holds no configuration that transformers can read: {_first_line(error)}"
        ) from error
    try:
        return config, GenerationConfig.from_pretrained(path, local_files_only=True)
    except OSError:
        return config, None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
