"""What came out: one line of ``samples.jsonl`` for every finished request under every strategy.

A missing value is None, never 0. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

SCHEMA = 1
UNTIMED = frozenset({"fidelity", "parity", "certificate"})
"""Kinds of records that follow from others of the same request and are no request of their own."""

StopReason = Literal["stop_string", "eos", "max_new_tokens", "context_full"]


class StepCost(BaseModel):
    """What the parts of one step cost on this machine, measured before the first timed request. Seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int
    """Tokens that go through the model together: 1 in decoding, K + 1 in verifying K drafts."""
    context: int
    """Positions held when it was measured."""
    layer_s: float
    """One decoder layer, the mean of all."""
    attention_s: float | None
    """Its attention sub-layer; None where the two were not told apart."""
    mlp_s: float | None
    """Its MLP sub-layer."""
    head_s: float
    """Final norm and output head."""
    fixed_s: float
    """The rest: embedding, bookkeeping, choosing the likeliest token."""
    check_s: float | None = None
    """A look at a token on its way up, beside the head: a confidence read from its logits. This and the next
    two are measured at width 1 alone."""
    fill_s: float | None = None
    """Keys and values of one position at one layer, projected from a hidden state that passes by."""
    draw_s: float | None = None
    """Drawing a token as the run samples, beyond choosing the likeliest; 0 in a greedy run."""
    layer_bytes: float | None = None
    """Bytes of weights that a token reads in one layer, the mean of all; None in folders of before."""
    head_bytes: int | None = None
    """Bytes of weights that the output head reads; likewise."""


class Bandwidth(BaseModel):
    """How fast a machine moves memory, at the best that was seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes_per_second: float
    reader: str
    """Which way of reading was the fastest."""
    threads: int | None
    """Threads that read; None where a device read its own memory."""


class LoopTimes(BaseModel):
    """What a loop that is not the engine's spends its time on: one request, watched before any is timed.

    Seconds from its first token to its last. Watching costs a few microseconds a layer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    decode_s: float
    """All of it."""
    layers_s: float
    """Within the decoder layers of the model, whoever called them."""
    head_s: float
    """Within its output head."""


class Outlook(BaseModel):
    """What a strategy's depths come to on a text that the model wrote itself, looked at before the run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    kind: Literal["decodes", "drafts", "exits"]
    """Every token under one plan; drafts under one plan, to be verified; or exits at some of a few layers."""
    layers: float
    """Layers that run for a token, one run in part by its share of weight bytes; of ``exits``, the mean at
    which the last layer's prediction is first found, L where none of the candidates has it."""
    exit_layer: int | None = None
    """Where the plan ends, if it leaves out nothing but what comes after."""
    resumed_layers: float = 0.0
    """Leading layers of a draft that verifying takes over."""
    agrees: tuple[tuple[bool, ...], ...] = ()
    """For each text and place, whether the plan predicts what the full model does."""
    spread: float = 0.0
    """Of ``exits``: the standard error of ``layers``."""
    candidates: tuple[int, ...] = ()
    """Of ``exits``: the layers at which a token may stop."""
    num_speculations: int | None = None
    """Of ``drafts``: the most in a cycle."""
    fixed_length: bool = False
    """Of ``drafts``: whether it is always as many."""
    draft_head: float = 1.0
    """The share of the head that is read for each drafted token."""


class Products(BaseModel):
    """What multiplies a few rows with a matrix of weights, which is most of what decoding does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["native", "torch"]
    """Compiled for this machine, or torch's own."""
    detail: str
    """For which instruction set they are compiled; or why torch's serve."""
    most_rows: int | None = None
    """Up to how many rows the compiled ones serve; torch's serve beyond. None where torch's always do."""

    @property
    def words(self) -> str:
        """All that in a few words."""
        if self.kind == "torch":
            return f"torch's own ({self.detail})"
        return self.detail if self.most_rows is None else f"{self.detail}, up to {self.most_rows} rows"


class RecordKey(NamedTuple):
    """What makes a record unique within a run, and so what resuming goes by."""

    strategy: str
    """Canonical label: name with options (``StrategyChoice.label``)."""
    kind: str
    task: str
    doc_id: int
    idx: int
    repeat: int


class SampleRecord(BaseModel):
    """One finished request under one strategy.

    ``kind`` says which fields carry a value: ``generate`` has tokens and timings; ``score`` has
    ``logprob`` and ``is_greedy``; ``fidelity`` has ``agreement`` (the strategy's own choice against
    the baseline's output); ``parity`` has ``first_difference`` and, where it is not None, ``margin`` and
    ``noise`` (a greedy output that claims to be the baseline's own); ``certificate`` has ``places`` and,
    where the strategy drew again, ``prefix_tokens``, ``draws`` and ``cells`` (a sampled output that claims to
    have the full model's distribution). The last three are never timed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: int = Field(default=SCHEMA, alias="schema")
    strategy: str
    """The strategy's name."""
    options: dict[str, JsonValue]
    """The options as the user gave them; ``label`` joins both."""
    label: str
    """Canonical name with options, unique within a run."""
    task: str
    doc_id: int
    idx: int = 0
    repeat: int = 0
    kind: Literal["generate", "score", "fidelity", "parity", "certificate"]
    arguments_sha256: str
    prompt: str
    prompt_tokens: int
    """How many tokens the prompt (or the scored context) has."""
    token_ids: tuple[int, ...] | None = None
    """Emitted ids, the one that completed a stop condition included."""
    text: str | None = None
    """Emitted text, cut where the stop string begins."""
    token_texts: tuple[str, ...] | None = None
    """What each of ``token_ids`` adds to the text; a token that only begins a character, or is special, adds
    nothing. Together they are the text before it is cut. None in folders of before."""
    stop_reason: StopReason | None = None
    ttft_s: float | None = None
    """Seconds from the request to the first token, prefill included."""
    decode_s: float | None = None
    """Seconds from the first token to the last."""
    layers_run: tuple[float, ...] | None = None
    """Layers run for each of ``token_ids``; a layer run in part counts its share of weight bytes.
    The first token comes from the full-depth prefill. None when the strategy cannot tell."""
    drafted: int | None = None
    accepted: int | None = None
    verify_passes: int | None = None
    token_s: tuple[float, ...] | None = None
    """For each of ``token_ids``, seconds from the request until it was out: the first is ``ttft_s``, the last
    ``ttft_s + decode_s``. Tokens that came out together share a time, those of one verify pass among them.
    This and the next three are None in folders of before."""
    drafted_tokens: tuple[bool, ...] | None = None
    """For each of ``token_ids``, whether it was drafted and accepted; None where nothing drafts, or the
    strategy cannot tell."""
    confidences: tuple[float | None, ...] | None = None
    """For each of ``token_ids``, the confidence at which a depth policy let it stop early (a drafted token's
    is its draft's), in the policy's own measure, or None where it did not; None where no token has one."""
    draft_passes: tuple[tuple[int, int], ...] | None = None
    """For each verify pass, how many tokens were drafted for it and how many of them were accepted and
    emitted; None where nothing drafts, or the strategy cannot tell."""
    draft_layers: float | None = None
    """Layers run in drafting, rejected drafts included; None when the strategy cannot tell."""
    verify_layers: float | None = None
    """Layers run in verifying, over all tokens of all passes; likewise."""
    draft_heads: float | None = None
    """Output heads read in drafting, a trimmed one by its share of weight bytes; likewise."""
    checks: int | None = None
    """How often a depth policy looked at a token on its way up; this and the next five are None when the
    strategy decodes in a loop of its own."""
    spare_heads: int | None = None
    """Of these, looks that read all logits of a token that then went on."""
    filled: int | None = None
    """Keys and values projected from a hidden state passing by, of one position at one layer each."""
    older_rows: int | None = None
    """Sub-layers run by positions that had been left pending (``kv_fill=recompute``), each position's own."""
    own_passes: int | None = None
    """Sub-layers that such positions ran with no new token beside them, however many together."""
    ridden: int | None = None
    """Sub-layers that new tokens ran with such positions beside them, however many. None in folders of
    before."""
    logprob: float | None = None
    """Sum of natural-log probabilities of the continuation."""
    is_greedy: bool | None = None
    """Whether every token of the continuation is the most likely one."""
    agreement: tuple[bool, ...] | None = None
    """For each token of the baseline's output: would this strategy have chosen it too?"""
    first_difference: int | None = None
    """Index into ``token_ids`` of the first one that is not the baseline's; None when all are."""
    margin: float | None = None
    """By how much the less likely of the two tokens there falls short of the full model's largest logit,
    computed in float32 or better; None where one output ends before the other."""
    noise: float | None = None
    """The largest such shortfall that rounding explains: twice the largest error of any logit there, over
    several computations in the run's own precision."""
    places: tuple[float, ...] | None = None
    """Where each token of the strategy's output stands in the full model's distribution, 0 to 1: uniform if
    the output was drawn from it."""
    prefix_tokens: int | None = None
    """How many tokens of the baseline's output the strategy went on from when it drew again and again."""
    draws: int | None = None
    """How often it did."""
    cells: tuple[tuple[tuple[int, float], ...], ...] | None = None
    """Of these draws, for each beginning that many of them share: how often each next token, or group of
    rare ones, was seen, and how often the full model would give it on average."""
    peak_bytes: int | None = None
    """Peak memory while the request ran: resident set on CPU, allocated on CUDA."""
    kv_bytes: int | None = None
    """Bytes allocated for the KV cache when the request ended."""
    batch: int | None = None
    """Which batch of its task and repeat it decoded in; None when it decoded alone."""
    batch_size: int = 1
    """How many sequences that batch was to hold."""
    replica: int = 0
    attempt: int = 1
    segment: int = 0
    """Which process of the run made this line (0, then 1 after the first resume, ...). Speed is
    paired only within a segment."""
    error: str | None = None
    """Why the request failed; then nothing above carries a value."""

    @property
    def key(self) -> RecordKey:
        """This record's identity within its run."""
        return RecordKey(self.label, self.kind, self.task, self.doc_id, self.idx, self.repeat)
