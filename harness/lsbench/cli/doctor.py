"""``lsbench doctor``: what this machine can run, and what is missing, before it matters."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lsbench.doctor.finding import Finding
    from lsbench.doctor.roofline import Roofline
    from lsbench.execution.roofline import PartCost, StepProfile

_SCHEMA = 1
_EXIT_MISSING = 1
_ROOFLINE = "Roofline"


def doctor(
    roofline: Annotated[
        bool,
        typer.Option(
            "--roofline",
            help="Measure memory bandwidth and each part of a decode step beside it (half a minute).",
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Whose steps \\[smollm2-135m-instruct].", rich_help_panel=_ROOFLINE
        ),
    ] = None,
    dtypes: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype", metavar="D", help="Repeatable \\[float32, bfloat16].", rich_help_panel=_ROOFLINE
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", "-d", help="auto, cpu, cuda, cuda:N \\[auto].", rich_help_panel=_ROOFLINE),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Of torch on the CPU \\[torch's choice].", rich_help_panel=_ROOFLINE),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Findings as JSON on stdout, all else on stderr.")
    ] = False,
) -> int:
    """Show what this machine can run and what is missing; exit 1 if `make run` would fail."""
    from lsbench.errors import EXIT_DONE, BadInput

    given = {"--model": model, "--dtype": dtypes, "--device": device, "--threads": threads}
    stray = next((flag for flag, value in given.items() if value), None)
    if stray is not None and not roofline:
        raise BadInput(f"{stray} says what --roofline measures; add --roofline")
    from rich.console import Console

    from lsbench.cli.doctor_view import show_checklist, show_roofline
    from lsbench.doctor.checklist import examine

    console = Console(file=sys.stderr if json_ else sys.stdout, highlight=False)
    with redirect_stdout(sys.stderr):  # a plugin may print what it likes: standard output is ours
        findings = show_checklist(console, examine())
    missing = any(finding.status == "missing" for finding in findings)
    measured = None
    if roofline and missing:
        console.print("The roofline was not measured: first what is missing.")
    elif roofline:
        measured = _measured(model, dtypes, device, threads)
        show_roofline(console, measured)
    if json_:
        print(_as_json(findings, measured))
    return _EXIT_MISSING if missing else EXIT_DONE


def _measured(
    model: str | None, dtypes: Sequence[str] | None, device: str | None, threads: int | None
) -> Roofline:
    from lsbench.doctor.roofline import USUAL_DTYPES, take_roofline
    from lsbench.report.live import LiveView
    from lsbench.spec import DEFAULT_MODEL

    with LiveView() as view, redirect_stdout(sys.stderr):
        return take_roofline(model or DEFAULT_MODEL, dtypes or USUAL_DTYPES, device or "auto", threads, view)


def _as_json(findings: Sequence[Finding], roofline: Roofline | None) -> str:
    content: dict[str, Any] = {
        "schema": _SCHEMA,
        "ok": all(finding.status != "missing" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
        "roofline": None if roofline is None else _told(roofline),
    }
    return json.dumps(content, indent=1)


def _told(roofline: Roofline) -> dict[str, Any]:
    from lsbench.execution.roofline import bound_fraction

    def cost(measured: PartCost | StepProfile) -> dict[str, Any]:
        share = bound_fraction(measured, roofline.bandwidth.bytes_per_second)
        return asdict(measured) | {"bandwidth_fraction": share}

    profiles = {
        dtype: [cost(step) | {"parts": [cost(part) for part in step.parts]} for step in steps]
        for dtype, steps in roofline.profiles.items()
    }
    return asdict(roofline) | {"bandwidth": roofline.bandwidth.model_dump(), "profiles": profiles}
