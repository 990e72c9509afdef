"""``lsbench check-strategy``: the conformance kit as a checklist."""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from lsbench.spec import StrategyChoice
    from lsbench.strategy.conformance import Bench, CheckResult, Report

_SCHEMA = 1


def check_strategy(
    strategy: Annotated[
        str, typer.Argument(metavar="NAME[:key=value,...]", help="As --strategy of `lsbench run` takes it.")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Check on this model, in float64 [a small random one: seconds]."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Hub revision.")] = None,
    device: Annotated[
        str, typer.Option("--device", "-d", help="Of the model: auto, cpu, cuda, cuda:N.")
    ] = "auto",
    json_: Annotated[
        bool, typer.Option("--json", help="The report as JSON on stdout, all else on stderr.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only what failed.")] = False,
) -> int:
    """Prove that a strategy keeps the contract: options, seeds, limits, scores, losslessness."""
    # Before torch is imported: threads that spin while they wait keep all else that runs off the cores, and
    # are kept off by it. Nothing is timed here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from rich.console import Console

    from lsbench.errors import EXIT_CLAIM_FAILED, EXIT_DONE, BadInput, Interrupted
    from lsbench.spec import parse_strategy
    from lsbench.strategy import conformance
    from lsbench.strategy.registry import load_strategy

    choice = parse_strategy(strategy)
    load_strategy(choice.name)  # an unknown name is told before a model is loaded
    if model is None and revision is not None:
        raise BadInput(f"--revision {revision!r} is a hub model's; give --model too")
    # A plugin may print what it likes: standard output is the report's.
    console = Console(file=sys.stderr if json_ else sys.stdout, highlight=False)
    checklist = _Checklist(console, quiet)
    with redirect_stdout(sys.stderr):
        try:
            bench = (
                conformance.random_bench()
                if model is None
                else _bench(choice, model, revision, device, quiet)
            )
            with checklist:
                report = conformance.check_strategy(
                    strategy, bench, on_result=checklist.result, on_begin=checklist.begin
                )
        except KeyboardInterrupt as error:
            raise Interrupted(checklist.so_far) from error
    if json_:
        print(_as_json(report))
    if not quiet:
        _conclude(console, report)
    return EXIT_DONE if report.ok else EXIT_CLAIM_FAILED


class _Checklist:
    """Shows each check while it runs (on a terminal) and each result as it comes."""

    def __init__(self, console: Console, quiet: bool) -> None:
        from rich.status import Status

        self._console, self._quiet = console, quiet
        self._status = Status("", console=console)
        self._results: list[CheckResult] = []
        self._checking, self._total = "", 0

    def __enter__(self) -> None:
        if not self._quiet:
            self._status.start()

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def begin(self, name: str, made: int, total: int) -> None:
        self._checking, self._total = name, total
        self._status.update(f"{name} ({made + 1} of {total})")

    def result(self, result: CheckResult) -> None:
        self._results.append(result)
        if not self._quiet or result.status == "failed":
            _show(self._console, result)

    @property
    def so_far(self) -> str:
        """What is to be said of checks that were interrupted."""
        if not self._checking:
            return "interrupted before the first check"
        held = sum(result.status == "held" for result in self._results)
        failed = [result.name for result in self._results if result.status == "failed"]
        named = f" ({', '.join(failed)})" if failed else ""
        return (
            f"interrupted while checking {self._checking!r}: of {self._total} checks {len(self._results)} "
            f"were made, {held} held and {len(failed)} failed{named}"
        )


def _bench(choice: StrategyChoice, model: str, revision: str | None, device: str, quiet: bool) -> Bench:
    from lsbench.catalog import resolve_model
    from lsbench.engine.loading import model_facts
    from lsbench.report.live import LiveView
    from lsbench.strategy.conformance import real_bench
    from lsbench.strategy.conformance.choices import check_against

    def check(folder: Path) -> None:
        facts = model_facts(folder)
        check_against(choice, facts.num_layers, facts.model_type)

    with LiveView(quiet=quiet) as view:
        source = resolve_model(model, revision, view, check)
        view.stage(f"Loading {source.id} in float64")
        return real_bench(source.path, source.id, device)


def _show(console: Console, result: CheckResult) -> None:
    """One line of the checklist, details beneath where something failed."""
    from rich.padding import Padding
    from rich.text import Text

    mark, style = {"held": ("✓", "green"), "failed": ("✗", "red"), "not applicable": ("–", "dim")}[
        result.status
    ]
    line = Text.assemble((f"{mark} ", style), (result.name, "bold"), "  ")
    if result.status == "failed":
        console.print(line)
        console.print(Padding(Text(f"{result.claim}\nSeen: {result.detail}"), (0, 0, 0, 4)))
    else:
        console.print(line.append(result.detail, "dim"))


def _conclude(console: Console, report: Report) -> None:
    from rich.text import Text

    counted = [
        f"{sum(result.status == status for result in report.results)} {status}"
        for status in ("held", "failed", "not applicable")
    ]
    seconds = sum(result.seconds for result in report.results)
    console.print(Text(f"{report.strategy} on {report.model}: {', '.join(counted)}, in {seconds:.0f} s"))


def _as_json(report: Report) -> str:
    content = {
        "schema": _SCHEMA,
        "strategy": report.strategy,
        "model": report.model,
        "ok": report.ok,
        "results": [asdict(result) for result in report.results],
    }
    return json.dumps(content, indent=1)
