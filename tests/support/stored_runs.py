"""Results folders of runs that never ran: made records, concluded from and stored as a run's are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsbench.measurement.summary import context_of, summarise
from lsbench.metrics import Measured
from lsbench.records import SampleRecord
from lsbench.spec import BASELINE, RunSpec, parse_strategy
from lsbench.store.machine import Hardware
from lsbench.store.manifest import ModelFacts
from lsbench.store.run_folder import SAMPLES, RunFolder
from lsbench.store.scores import CorpusSums, write_scores

MODEL = ModelFacts(id="tiny", path=None, sha256="ab" * 32, num_layers=4, dtype="float32")
HARDWARE = Hardware(system="Linux", cpu="Made-up 3000", cores=2, memory_bytes=1 << 30)
TOKENS = 11
"""Of every output, so ten are decoded."""


@dataclass(frozen=True)
class Made:
    """What a strategy did on each prompt, in order.

    Attributes:
        seconds: of decoding ten tokens.
        passed: whether it solved the document.
        agreed: how many of the baseline's ten tokens it would have chosen.
        alike: of ten tokens and runs of each length, how many a reference text has too; what BLEU counts.
    """

    seconds: Sequence[float]
    passed: Sequence[bool]
    agreed: Sequence[int] = ()
    alike: Sequence[int] = ()


@dataclass(frozen=True)
class MadeScores:
    """One task's scores, as the evaluation gives them."""

    n: int
    metrics: Mapping[str, Measured]
    per_doc: Mapping[str, Mapping[int, float]]
    failed: int = 0
    higher_is_better: Mapping[str, bool] = field(default_factory=lambda: {"exact_match": True})
    weights: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    totals: Mapping[str, CorpusSums] = field(default_factory=dict)


def make_run(
    output: Path,
    made: Mapping[str, Made],
    *,
    spec: Mapping[str, object] = {},
    manifest: Mapping[str, object] = {},
    prompt: str = "prompt",
    scores: bool = True,
) -> RunFolder:
    """A finished run of ``things`` in a folder of its own.

    Args:
        output: where runs are.
        made: by label; ``autoregressive`` must be among them.
        spec: fields of the spec.
        manifest: fields of the manifest.
        prompt: the beginning of every prompt.
        scores: whether the folder keeps what each document scored.
    """
    strategies = tuple(parse_strategy(label) for label in made if label != BASELINE)
    asked = RunSpec.model_validate({"strategies": strategies, "tasks": ("things",), **spec})
    told = {
        "status": "complete",
        "model": MODEL,
        "hardware": HARDWARE,
        "threads": 1,
        "load_average": None,
        "git": None,
        **manifest,
    }
    task = asked.tasks[0]
    with RunFolder.create(output, asked) as folder:
        count = len(made[BASELINE].seconds)
        records = [
            record
            for doc in range(count)
            for label, one in made.items()
            for record in _records(label, one, task, doc, prompt)
        ]
        # At once: seeing each line onto the disk, as a run does, takes longer than all else here.
        lines = [record.model_dump_json(by_alias=True) for record in records]
        (folder.path / SAMPLES).write_text("".join(f"{line}\n" for line in lines))
        scored = {label: {task: _scores(one)} for label, one in made.items()}
        folder.update_manifest(**told)
        metrics = summarise(context_of(folder.manifest), records, scored, {BASELINE: True})
        if scores:
            write_scores(folder, scored)
        folder.write_metrics(metrics)
    return RunFolder.open(folder.path)


def _records(label: str, one: Made, task: str, doc: int, prompt: str) -> list[SampleRecord]:
    choice = parse_strategy(label)
    same = {
        "strategy": choice.name,
        "options": choice.options,
        "label": label,
        "task": task,
        "doc_id": doc,
        "arguments_sha256": "0" * 64,
        "prompt": f"{prompt} {doc}",
        "prompt_tokens": 5,
    }
    written = SampleRecord(
        **same,
        kind="generate",
        token_ids=tuple(range(TOKENS)),
        text="x",
        stop_reason="eos",
        ttft_s=0.1,
        decode_s=one.seconds[doc],
        layers_run=(4.0,) * TOKENS,
        peak_bytes=1 << 20,
    )
    if not one.agreed:
        return [written]
    agreement = tuple(place < one.agreed[doc] for place in range(TOKENS - 1))
    return [written, SampleRecord(**same, kind="fidelity", agreement=agreement)]


def _scores(one: Made) -> MadeScores:
    values = {doc: float(passed) for doc, passed in enumerate(one.passed)}
    mean = sum(values.values()) / len(values)
    metrics, totals = {"exact_match": Measured(value=mean, stderr=0.1)}, {}
    if one.alike:
        parts = {doc: (float(alike),) * 4 + (10.0,) * 6 for doc, alike in enumerate(one.alike)}
        bleu = totals["bleu"] = CorpusSums(formula="bleu", parts=parts)
        metrics["bleu"] = Measured(
            value=bleu.value([sum(column) for column in zip(*parts.values(), strict=True)])
        )
    return MadeScores(len(values), metrics, {"exact_match": values}, totals=totals)
