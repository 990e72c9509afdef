"""A transformers folder written as a GGUF file: the very same weights, for llama.cpp to read.

Only token ids will go in and out, so the vocabulary is a placeholder: every id has a name of its own, and
none ends a generation. llama.cpp turns neighbouring numbers of a head together where transformers turns the
first half with the second, so the rows of the query and key projections are put in that order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors import safe_open
from torch import Tensor

STORED = {
    "float32": (torch.float32, gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "bfloat16": (torch.bfloat16, gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
}
"""What the matrices are stored as; vectors are float32 in every GGUF file, rounded to the dtype first."""


class NotWritable(Exception):
    """The model has something that this file does not know how to tell llama.cpp."""


def write_gguf(folder: Path, file: Path, dtype: str) -> None:
    """Write the Llama in ``folder`` to ``file``, its weights rounded to ``dtype``.

    Args:
        folder: ``config.json`` and safetensors.
        file: created or overwritten.
        dtype: ``float32`` or ``bfloat16``.

    Raises:
        NotWritable: not a plain Llama.
    """
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _refuse_strange(config)
    precision, matrix_type, file_type = STORED[dtype]
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    width = config.get("head_dim") or config["hidden_size"] // heads
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    _describe(writer, config, kv_heads, width)
    writer.add_file_type(file_type)
    for name, weight in _weights(folder):
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue  # llama.cpp takes the embedding where there is no head
        known = names.get_name(name, try_suffixes=(".weight",))
        if known is None:
            raise NotWritable(f"llama.cpp has no name for the weight {name}")
        rounded = weight.to(precision)
        if ".self_attn.q_proj." in name or ".self_attn.k_proj." in name:
            rounded = neighbours_together(rounded, heads if ".q_proj." in name else kv_heads)
        if rounded.ndim == 1 or precision == torch.float32:
            writer.add_tensor(known, rounded.float().numpy())
        else:
            writer.add_tensor(known, rounded.contiguous().view(torch.uint8).numpy(), raw_dtype=matrix_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def neighbours_together(weight: Tensor, heads: int) -> Tensor:
    """Rows [heads * width, D] of each head reordered from 0..width-1 to 0, width/2, 1, width/2 + 1, ..."""
    halves = weight.unflatten(0, (heads, 2, -1))
    return halves.transpose(1, 2).reshape(weight.shape)


def _refuse_strange(config: dict[str, Any]) -> None:
    if config.get("model_type") != "llama":
        raise NotWritable(
            f"only a Llama is written as GGUF here, and this model is {config.get('model_type')!r}"
        )
    for field in ("attention_bias", "mlp_bias"):
        if config.get(field):
            raise NotWritable(f"a Llama with {field} is not written as GGUF here")
    rotary = _rotary(config)
    if rotary.get("rope_type", rotary.get("type", "default")) != "default":
        raise NotWritable(f"rotary positions of kind {rotary} are not written as GGUF here")


def _rotary(config: dict[str, Any]) -> dict[str, Any]:
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _describe(writer: gguf.GGUFWriter, config: dict[str, Any], kv_heads: int, width: int) -> None:
    """Everything of the configuration that llama.cpp reads, and the placeholder vocabulary."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    theta = _rotary(config).get("rope_theta") or config.get("rope_theta") or 10_000.0
    writer.add_rope_freq_base(float(theta))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    # Of llama.cpp's kinds of vocabularies the one whose end of sequence is not assumed to be some id.
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list([f"{number} " for number in range(config["vocab_size"])])


def _weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                yield name, opened.get_tensor(name)
