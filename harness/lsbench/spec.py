"""What was asked: the run, the strategies, and every single request made of a model.

Everything here crosses a file or a process, so it is pydantic, frozen, and refuses unknown keys.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lsbench.errors import BadInput
from lsbench.option_text import read_value, split_options, write_value

DEFAULT_MODEL = "smollm2-135m-instruct"
BASELINE = "autoregressive"
_KEY = re.compile(r"[\w.-]+")


class Frozen(BaseModel):
    """Base of every boundary model: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StrategyChoice(Frozen):
    """A strategy by name with the options the user gave (not yet checked against its options model)."""

    name: str
    options: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """Canonical text, ``name`` or ``name:key=value,...`` with keys sorted: unique within a run.

        ``parse_strategy`` reads it back as this choice.
        """
        if not self.options:
            return self.name
        written = (f"{key}={write_value(value)}" for key, value in sorted(self.options.items()))
        return f"{self.name}:{','.join(written)}"


class Sampling(Frozen):
    """How the next token is drawn from a distribution; temperature 0 is greedy."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    """Keep this many most likely tokens; 0 keeps all."""

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0


INT8_WEIGHTS = "int8wo"
"""The ``dtype`` of int8 weights, one scale to an output row, in a model that is float32 otherwise.

A quantized model is another model: its baseline runs it too, and its scores are never taken for those of
float weights."""

Dtype = Literal["auto", "float32", "bfloat16", "float16", "float64", "int8wo"]


class RunSpec(Frozen):
    """One ``lsbench run``, fully resolved: what the manifest records and ``--config`` reads."""

    strategies: tuple[StrategyChoice, ...]
    baseline: str = BASELINE
    tasks: tuple[str, ...]
    model: str = DEFAULT_MODEL
    revision: str | None = None
    dtype: Dtype = "auto"
    """``int8wo`` is ``INT8_WEIGHTS``; ``auto`` never means it."""
    device: str = "auto"
    include_path: str | None = None
    data: str | None = None
    """A JSON Lines file: the prompts of the task ``jsonl``."""
    data_prompt: str | None = None
    """Which of its fields is the prompt; None is ``prompt``."""
    data_reference: str | None = None
    """Which of its fields is what would be right; None is ``reference``, and ``none`` that there is none."""
    data_fewshot: str | None = None
    """A file of the same fields with the examples of ``num_fewshot``; None sets lines of ``data`` aside."""
    limit: Annotated[int, Field(ge=1)] | None = None
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    apply_chat_template: bool = False
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """Overrides every task's own limit; None keeps the task's."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """None keeps the task's own sampling; a value overrides it, and a clash is reported."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    batch_size: Annotated[int, Field(ge=1)] = 1
    tensor_parallel: Annotated[int, Field(ge=1)] = 1
    """Processes that share one copy of the model, each holding its part of the weights."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """Copies of the model, which take prompts one at a time."""
    backend: Literal["auto", "local", "ray"] = "auto"
    """``local`` is this process alone, ``ray`` processes that Ray places; ``auto`` needs no Ray for one."""
    ray_address: str | None = None
    """``HOST:PORT`` of a Ray cluster to join, or ``auto`` for the one on this machine; None starts one."""
    max_retries: Annotated[int, Field(ge=0)] = 2
    """How often a prompt is run again whose replica died, before it counts as failed."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """Generations of each prompt; each is timed, and each reaches the task's metric."""
    warmup: Annotated[int, Field(ge=0)] = 1
    """Prompts run and discarded under every strategy before the first timed one."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of torch's CPU operators; None keeps torch's own choice."""
    sandbox: Literal["auto", "strict"] = "auto"
    """``strict`` refuses to score generated code where only resource limits can confine it."""
    output: str = "results"


class GenerateRequest(Frozen):
    """Continue a prompt until a stop condition; one line of a task, ready for a worker."""

    kind: Literal["generate"] = "generate"
    task: str
    doc_id: int
    """The document's index in the task's evaluation split."""
    idx: int = 0
    """Which of the document's requests (always 0 for generation)."""
    repeat: int = 0
    arguments_sha256: str
    """Hash of lm-eval's own arguments, so that scoring can prove it replays the same request."""
    prompt: str
    prompt_tokens: tuple[int, ...]
    max_new_tokens: int
    stop_strings: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    """Every end-of-sequence id of the model; empty when generation must go on to the limit."""
    sampling: Sampling = Sampling()
    seed: int = 0
    """Seed of this request alone: order, sharding and retries never change what is drawn."""


class ScoreWindow(Frozen):
    """``continuation`` is scored given ``context``; both are token ids, the context never empty."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


class ScoreRequest(Frozen):
    """Log-likelihood of a continuation; a rolling request has several windows, which are summed."""

    kind: Literal["score"] = "score"
    task: str
    doc_id: int
    idx: int = 0
    """Which of the document's requests: the answer choice of a multiple-choice task."""
    repeat: int = 0
    arguments_sha256: str
    prompt: str
    """The context as text ("" for rolling log-likelihood)."""
    target: str
    """The continuation as text."""
    windows: tuple[ScoreWindow, ...]
    rolling: bool = False


Request = GenerateRequest | ScoreRequest


def parse_strategy(text: str) -> StrategyChoice:
    """Read ``NAME[:key=value,...]`` as the command line spells it.

    Values are YAML scalars or flow lists (``candidate_layers=[4,8]``), read as ``option_text`` says; commas
    inside brackets or quotes do not separate options.

    Raises:
        BadInput: no name, an option without ``=``, a key given twice, or a value that cannot be read.
    """
    given = f"--strategy {_shortened(text)!r}"
    name, colon, rest = text.partition(":")
    name = name.strip()
    if not name:
        raise BadInput(f"{given} has no strategy name; write NAME or NAME:key=value,...")
    if colon and not rest.strip():
        raise BadInput(f"{given} ends in ':' but gives no option; write NAME:key=value,...")
    options: dict[str, JsonValue] = {}
    for part in split_options(rest) if colon else ():
        key, equals, value = part.partition("=")
        key = key.strip()
        if not part.strip():
            raise BadInput(f"{given} has an empty option: one comma too many")
        if not equals or not _KEY.fullmatch(key):
            raise BadInput(f"{given}: option {_shortened(part.strip())!r} is not of the form key=value")
        if key in options:
            raise BadInput(f"{given}: option {key!r} is given twice")
        try:
            options[key] = read_value(value)
        except ValueError as error:
            raise BadInput(f"{given}: cannot read the value of {key!r}: {_shortened(value)!r}") from error
    return StrategyChoice(name=name, options=options)


def arguments_hash(arguments: object) -> str:
    """SHA-256 of lm-eval request arguments, by their canonical JSON."""
    text = json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def request_seed(seed: int, task: str, doc_id: int, repeat: int) -> int:
    """A 63-bit seed that depends on the run's seed and on which request this is, nothing else."""
    digest = hashlib.sha256(f"{seed}|{task}|{doc_id}|{repeat}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."
