"""Made folders of searches: every kind of trial that a report must be able to tell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lsbench.spec import RunSpec, parse_strategy
from lsbench.store.machine import Hardware
from lsbench.store.manifest import ModelFacts
from lsbench.tuning.outcome import best_yaml, decide
from lsbench.tuning.result import BEST, OptionShares, make_result, write_result
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.split import Split
from lsbench.tuning.trials import TRIALS, Trial, TrialsFile, TuneManifest, write_manifest

ITEMS = ("22.attention", "20.mlp", "18", "24.attention", "25.mlp", "12.attention")


def trial(number: int, text: str, **changes: Any) -> Trial:
    """A timed trial of a strategy as ``--strategy`` takes it, that went well."""
    choice = parse_strategy(text)
    fields: dict[str, Any] = {
        "number": number,
        "kind": "timed",
        "status": "ok",
        "strategy": choice.name,
        "options": choice.options,
        "label": choice.label,
        "point": {
            f"{key}:22.attention" if isinstance(value, list) else key: isinstance(value, list) or value
            for key, value in choice.options.items()
        },
        "quality_name": "token_agreement",
        "prompts": 8,
        "seconds": 9.5,
        "seed": 0,
    }
    return Trial.model_validate({**fields, **changes})


def skipping_trials() -> list[Trial]:
    """Forty predicted ones, six of them timed, two failed, and the finalists."""
    found: list[Trial] = []
    for number in range(40):
        # Neither monotonous nor random: what a search that learns looks like.
        size = (number * 7) % 6
        speed = 0.93 + 0.05 * size - 0.0012 * abs(number - 25)
        items = ",".join(ITEMS[:size] or ("22.attention",))
        if number in (5, 17):
            found.append(
                trial(
                    number,
                    f"dynamic_skip:skip_set=[{items}],max_skip_ratio={0.1 + number / 100:.2f}",
                    kind="predicted",
                    status="failed" if number == 5 else "timed_out",
                    reason="RuntimeError: <b>out of memory</b>" if number == 5 else "took more than 60 s",
                    objective=0.0,
                    seconds=0.2,
                )
            )
            continue
        found.append(
            trial(
                number,
                f"dynamic_skip:skip_set=[{items}],max_skip_ratio={0.1 + number / 100:.2f}",
                kind="predicted",
                predicted_speedup=speed,
                objective=speed,
                quality=0.99 - 0.03 * size - 0.001 * (number % 5),
                quality_bound=0.97 - 0.03 * size,
                mean_layers=30 - 1.5 * size,
                seconds=0.2,
                origin="default" if number == 0 else "searcher",
            )
        )
    good = sorted((t for t in found if t.status == "ok"), key=lambda t: -(t.predicted_speedup or 0))
    for number, chosen in enumerate(good[::7]):
        speed = (chosen.predicted_speedup or 0) - 0.02 + 0.004 * (number % 3)
        found.append(
            chosen.model_copy(
                update={
                    "kind": "timed",
                    "number": number,
                    "speedup": speed,
                    "speedup_ci95": (speed - 0.02, speed + 0.025),
                    "objective": speed,
                    "origin": "prediction",
                    "seconds": 11.2,
                }
            )
        )
    return found


def finalists(speedup: float = 1.14, quality: float = 0.93) -> list[Trial]:
    """The best one, and the strategy as it is."""
    return [
        trial(
            0,
            "dynamic_skip:skip_set=[22.attention,20.mlp,18],max_skip_ratio=0.32",
            documents="final",
            speedup=speedup,
            speedup_ci95=(speedup - 0.03, speedup + 0.03),
            quality=quality,
            quality_bound=quality - 0.02,
            mean_layers=26.4,
            prompts=20,
            origin="prediction",
        ),
        trial(
            1,
            "dynamic_skip",
            documents="final",
            speedup=1.01,
            speedup_ci95=(0.98, 1.04),
            quality=0.95,
            quality_bound=0.93,
            mean_layers=28.1,
            prompts=20,
            origin="default",
        ),
    ]


def grid_trials() -> list[Trial]:
    """``static_exit`` as a draft over exit layers and tokens drafted, one of them failed."""
    found: list[Trial] = []
    for layer in (8, 12, 16, 20, 24):
        for count in (1, 3, 5, 7):
            speed = 1.25 - ((layer - 17) / 14) ** 2 - ((count - 4) / 9) ** 2
            failed = (layer, count) == (8, 7)
            found.append(
                trial(
                    len(found),
                    f"self_speculative:draft.exit_layer={layer},num_speculations={count}",
                    origin="grid",
                    acceptance=None if failed else 0.2 + layer / 40,
                    quality=None if failed else 1.0,
                    quality_bound=None if failed else 1.0,
                    speedup=None if failed else speed,
                    speedup_ci95=None if failed else (speed - 0.02, speed + 0.02),
                    **({"status": "failed", "reason": "out of memory"} if failed else {}),
                )
            )
    return found


def write_search(
    folder: Path,
    trials: Sequence[Trial],
    finals: Sequence[Trial] = (),
    *,
    strategy: str = "dynamic_skip",
    shares: dict[str, float] | None = None,
    notes: tuple[str, ...] = (),
    status: str | None = None,
    **changes: Any,
) -> Path:
    """A folder with these trials, and its conclusion where there are finalists."""
    folder.mkdir(parents=True, exist_ok=True)
    run = RunSpec(strategies=(parse_strategy(strategy),), tasks=("humaneval",), limit=8)
    spec = TuneSpec.model_validate({"run": run, "min_quality": 0.9, **changes})
    now = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
    manifest = TuneManifest(
        tune_id=folder.name,
        status=status or ("complete" if finals else "interrupted"),  # type: ignore[arg-type]
        spec=spec,
        created=now,
        updated=now,
        versions={"lsbench": "0.1", "ray": "2.60.0"},
        hardware=Hardware(cpu="AMD EPYC", cores=2, memory_bytes=8 << 30, gpus=(), system="Linux"),
        seeds={"split": 0, "searcher": 0},
        split=Split(seed=0, tuning={"humaneval": tuple(range(8))}, final={"humaneval": tuple(range(8, 28))}),
        model=ModelFacts(
            id="smollm2-135m-instruct", path=None, sha256="b179c952", num_layers=30, dtype="float32"
        ),
        threads=2,
        load_average=(0.4, 0.3, 0.2),
        search_s=420.0,
        notes=notes,
    )
    write_manifest(folder, manifest)
    file = TrialsFile(folder / TRIALS)
    for each in [*trials, *finals]:
        file.append(each)
    file.close()
    if finals:
        outcome = decide(finals, spec.min_quality, winner_over_default=(1.02, 1.2))
        importance = OptionShares(shares=shares, explained=0.71, trials=len(trials)) if shares else None
        result = make_result(
            folder.name,
            outcome,
            [*trials, *finals],
            420.0,
            0.0171,
            over_default=(1.02, 1.2),
            swing=0.02,
            importance=importance,
        )
        write_result(folder, result)
        (folder / BEST).write_text(best_yaml(run, outcome, folder.name))
    return folder
