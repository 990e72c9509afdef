"""A task's generation arguments, read into what a request says; nothing is silently ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lsbench.errors import BadInput
from lsbench.spec import RunSpec, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_READ = frozenset({"until", "max_gen_toks", "max_length", "do_sample", "temperature", "top_p", "top_k"})

# Values that ask for nothing beyond plain sampling; any other value of these would need to be honoured.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "num_return_sequences": (1,),
    "repetition_penalty": (1.0,),
    "encoder_repetition_penalty": (1.0,),
    "diversity_penalty": (0.0,),
    "length_penalty": (1.0,),
    "early_stopping": (False, True),
    "no_repeat_ngram_size": (0,),
    "penalty_alpha": (0.0,),
    "typical_p": (1.0,),
    "min_p": (0.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "use_cache": (False, True),
}


@dataclass(frozen=True)
class Generation:
    """How a task wants its prompts continued."""

    max_new_tokens: int | None
    """None when the task bounds prompt and output together, by ``max_length``."""
    max_length: int | None
    stop_strings: tuple[str, ...]
    stop_token_ids: tuple[int, ...]
    sampling: Sampling
    notes: tuple[str, ...]
    """Clashes between what the task asks and what the command line asks."""


def read_generation(
    task: str,
    arguments: Mapping[str, Any],
    spec: RunSpec,
    tokenizer: PreTrainedTokenizerBase,
    eos_token_ids: tuple[int, ...],
) -> Generation:
    """Read lm-eval generation arguments, the command line's own settings taking precedence.

    A stop string that is a special token is turned into that token's id, since special tokens never
    show in decoded text.

    Raises:
        BadInput: an argument that lsbench cannot honour, or a value of the wrong kind.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    _check_types(task, arguments)
    plain: dict[str, Any] = dict(normalize_gen_kwargs({k: v for k, v in arguments.items() if v is not None}))
    for name, value in plain.items():
        if name not in _READ and value not in _NEUTRAL.get(name, ()):
            raise BadInput(
                f"Task {task!r} asks for generation argument {name}={value!r}, which lsbench cannot honour; "
                f"it honours until, max_gen_toks, max_length, do_sample, temperature, top_p and top_k."
            )
    sampling, notes = _sampling(task, arguments, spec)
    strings = [text for text in plain["until"] if text]
    special: dict[str, Any] = {
        text: tokenizer.convert_tokens_to_ids(text) for text in strings if _is_special(tokenizer, text)
    }
    max_length = plain.get("max_length") if spec.max_new_tokens is None else None
    return Generation(
        max_new_tokens=None if max_length else spec.max_new_tokens or plain["max_gen_toks"],
        max_length=max_length,
        stop_strings=tuple(dict.fromkeys(text for text in strings if text not in special)),
        stop_token_ids=tuple(dict.fromkeys([*eos_token_ids, *special.values()])),
        sampling=sampling,
        notes=notes,
    )


def _sampling(task: str, arguments: Mapping[str, Any], spec: RunSpec) -> tuple[Sampling, tuple[str, ...]]:
    notes: list[str] = []
    asked = {k: arguments.get(k) for k in ("do_sample", "temperature", "top_p", "top_k")}
    temperature: float = asked["temperature"] or 0.0
    if asked["do_sample"] is False:
        temperature = 0.0
    elif asked["do_sample"] and asked["temperature"] is None:
        temperature = 1.0
        if spec.temperature is None:
            notes.append(f"Task {task!r} asks for sampling but names no temperature; 1 is used.")
    elif asked["do_sample"] and temperature == 0 and spec.temperature is None:
        notes.append(f"Task {task!r} asks for sampling at temperature 0, which is greedy decoding.")
    decided = asked["do_sample"] is not None or asked["temperature"] is not None
    values: dict[str, Any] = {
        "temperature": temperature,
        "top_p": 1.0 if asked["top_p"] is None else asked["top_p"],
        "top_k": max(asked["top_k"] or 0, 0),
    }
    for name, flag in (("temperature", spec.temperature), ("top_p", spec.top_p), ("top_k", spec.top_k)):
        if flag is None:
            continue
        if flag != values[name] and (decided if name == "temperature" else asked[name] is not None):
            notes.append(
                f"Task {task!r} asks for {name} {values[name]:g}; --{name.replace('_', '-')} {flag:g} "
                "is used instead."
            )
        values[name] = flag
    try:
        return Sampling(**values), tuple(notes)
    except ValidationError as error:
        (first, *_) = error.errors()
        name = first["loc"][0]
        raise BadInput(
            f"Task {task!r} asks for {name} {values[str(name)]!r}, which is out of range: {first['msg']}."
        ) from error


def _check_types(task: str, arguments: Mapping[str, Any]) -> None:
    kinds: dict[str, tuple[str, tuple[type, ...]]] = {
        "do_sample": ("true or false", (bool,)),
        "temperature": ("a number", (int, float)),
        "top_p": ("a number", (int, float)),
        "top_k": ("a whole number", (int,)),
        "max_gen_toks": ("a whole number", (int,)),
        "max_length": ("a whole number", (int,)),
    }
    for name, (wanted, types) in kinds.items():
        value = arguments.get(name)
        if value is not None and (
            not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
        ):
            raise BadInput(
                f"Task {task!r} sets generation argument {name} to {value!r}; it must be {wanted}."
            )
    until = arguments.get("until")
    texts = until if isinstance(until, list) else [until or ""]
    if not all(isinstance(text, str) for text in texts):
        raise BadInput(f"Task {task!r} sets until to {until!r}; it must be a text or a list of texts.")


def _is_special(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    return text in tokenizer.all_special_tokens or any(
        token.special and token.content == text for token in tokenizer.added_tokens_decoder.values()
    )
