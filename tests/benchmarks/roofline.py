"""Where the time of a decode step goes on this machine, beside what reading the weights would take.

What ``lsbench doctor --roofline`` measures, with the machine and the versions above it: the tables of
docs/performance.md.

    python tests/benchmarks/roofline.py --dtype float32 --dtype bfloat16
"""

from __future__ import annotations

import argparse

from rich.console import Console

from lsbench.cli.doctor_view import show_roofline
from lsbench.doctor.roofline import DTYPES, USUAL_DTYPES, take_roofline
from lsbench.report.live import LiveView
from lsbench.spec import DEFAULT_MODEL
from lsbench.store.machine import git_state, hardware, versions


def main() -> None:
    """Print the machine, its memory bandwidth, and a table for each dtype."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--dtype", action="append", choices=DTYPES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()

    machine, packages, source = hardware(), versions(), git_state()
    with LiveView() as view:
        measured = take_roofline(
            options.model, options.dtype or USUAL_DTYPES, options.device, options.threads, view
        )
    print(f"machine: {machine.cpu}, {machine.cores} cores; {machine.system}")
    print(f"python {packages['python']}, torch {packages['torch']}, transformers {packages['transformers']}")
    if source is not None:
        print(f"source: {source.commit[:12]}{', with changes' if source.dirty else ''}")
    show_roofline(Console(width=80, highlight=False), measured)


if __name__ == "__main__":
    main()
