"""The written reports of a search, made from what its folder holds and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsbench.errors import BadInput
from lsbench.report import figures
from lsbench.report.facts import RunFacts, machine_facts, version_facts
from lsbench.report.folder import HTML, MARKDOWN
from lsbench.report.plain import one_line
from lsbench.report.templates import environment
from lsbench.report.tune_charts import tune_charts
from lsbench.report.tune_folder import StoredTune, best_first, option_text
from lsbench.report.tune_grid import grid_csv
from lsbench.report.tune_words import (
    beside_default,
    cost_sentences,
    found_heading,
    front_rows,
    prediction_sentence,
    quality_text,
    speed_text,
    tune_notes,
    verdict,
)
from lsbench.store.atomic import write_atomically
from lsbench.tuning.result import BEST
from lsbench.tuning.trials import Trial, TuneManifest

GRID = "grid.csv"


@dataclass(frozen=True)
class TrialRow:
    """One trial as text.

    Attributes:
        name: its kind and number.
        cells: options, speedup, quality, drafts accepted, layers per token, who proposed it, what it took.
        problem: what went wrong; empty where nothing did.
    """

    name: str
    cells: tuple[str, ...]
    problem: str


TRIAL_COLUMNS = (
    "options",
    "speedup",
    "quality",
    "drafts accepted",
    "layers per token",
    "proposed by",
    "took",
)


def write_tune_reports(folder: Path) -> tuple[str, ...]:
    """Write ``report.html`` and ``report.md`` into a search's folder, and ``grid.csv`` where it was one.

    Returns:
        the names of the files.

    Raises:
        BadInput: it is no folder of a search, or cannot be written to.
        DamagedResults: a file in it cannot be trusted.
    """
    tune = StoredTune.open(folder)
    files = {HTML: tune_html(tune), MARKDOWN: tune_markdown(tune)}
    table = grid_csv(tune)
    if table is not None:
        files[GRID] = table
    for name, text in files.items():
        try:
            write_atomically(folder / name, text)
        except OSError as error:
            raise BadInput(f"Cannot write {folder / name}: {error.strerror or error}.") from error
    return tuple(files)


def tune_html(tune: StoredTune) -> str:
    """A page that loads nothing and can be mailed."""
    return environment().get_template("tune.html.j2").render(**_content(tune))


def tune_markdown(tune: StoredTune) -> str:
    """The same without the charts, as GitHub-flavoured Markdown."""
    return environment().get_template("tune.md.j2").render(**_content(tune))


def trial_rows(tune: StoredTune) -> list[TrialRow]:
    """Every trial: those on final documents, timed ones, predicted ones; the best of each first."""
    groups = [
        tune.final,
        [trial for trial in tune.tuning if trial.kind == "timed"],
        [trial for trial in tune.tuning if trial.kind == "predicted"],
    ]
    rows: list[TrialRow] = []
    for group in groups:
        good = best_first(group)
        keys = {trial.key for trial in good}
        rows += [_row(trial) for trial in [*good, *(each for each in group if each.key not in keys)]]
    return rows


def _row(trial: Trial) -> TrialRow:
    name = "final" if trial.documents == "final" else trial.kind
    problem = "" if trial.status == "ok" else trial.status.replace("_", " ")
    if problem and trial.reason:
        problem += f": {one_line(trial.reason)}"
    cells = (
        option_text(trial),
        speed_text(trial),
        quality_text(trial),
        figures.share(trial.acceptance),
        figures.significant(trial.mean_layers),
        trial.origin,
        f"{figures.significant(trial.seconds)} s",
    )
    return TrialRow(f"{name} {trial.number}", cells, problem)


def _content(tune: StoredTune) -> dict[str, Any]:
    manifest, result = tune.manifest, tune.result
    words, tone = verdict(tune)
    front, measured = front_rows(tune)
    spec = manifest.spec
    return {
        "title": f"Search of {one_line(spec.strategy.name)}",
        "tune_id": one_line(manifest.tune_id),
        "about": _about(manifest),
        "verdict": words,
        "tone": tone,
        "reasons": [one_line(reason) for reason in result.reasons] if result else [],
        "best_file": f"lsbench run --config {tune.folder / BEST}" if (tune.folder / BEST).exists() else None,
        "found": found_heading(tune),
        "beside": beside_default(tune),
        "costs": cost_sentences(tune),
        "foretold": prediction_sentence(tune),
        "front": front,
        "front_measured": measured,
        "charts": tune_charts(tune),
        "columns": TRIAL_COLUMNS,
        "rows": trial_rows(tune),
        "notes": tune_notes(tune),
        "facts": _facts(manifest),
    }


def _about(manifest: TuneManifest) -> str:
    spec, model = manifest.spec, manifest.model
    name = spec.run.model if model is None else model.id
    layers = "" if model is None else f", {model.num_layers} layers, {model.dtype}"
    return f"{one_line(name)}{layers}; {', '.join(map(one_line, spec.run.tasks))}"


def _facts(manifest: TuneManifest) -> RunFacts:
    spec = manifest.spec
    asked = spec.model_dump(mode="json", exclude_defaults=True, exclude={"run", "space"})
    run = spec.run.model_dump(mode="json", exclude_defaults=True, exclude={"strategies", "tasks", "output"})
    settings = [
        ("strategy", spec.strategy.label),
        ("tasks", ", ".join(spec.run.tasks)),
        ("search", spec.search),
        ("trials", str(spec.trials)),
        *((name.replace("_", " "), str(value)) for name, value in {**run, **asked}.items()),
        ("seed", str(spec.seed)),
        *((f"space of {name}", str(value)) for name, value in spec.space.items()),
    ]
    machine = machine_facts(manifest.hardware, manifest.threads)
    if manifest.load_average is not None:
        machine.append(("load before the search", f"{manifest.load_average[0]:.1f}"))
    return RunFacts(
        started=f"{manifest.created:%Y-%m-%d %H:%M} UTC",
        settings=tuple(dict(settings).items()),
        machine=tuple(machine),
        versions=tuple(version_facts(manifest.versions, manifest.git, manifest.model)),
        manifest=manifest.model_dump_json(by_alias=True, indent=2),
    )
