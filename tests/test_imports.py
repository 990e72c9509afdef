"""The rooms of docs/architecture.md, as the import-linter contracts of pyproject.toml hold them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Hold the code under ``folder`` to the contracts there."""
    places = [str(folder / name) for name in ("harness", "strategies", "tasks")]
    program = f"import sys; sys.path[:0] = {places!r}; {LINT}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_import_stays_within_its_room() -> None:
    outcome = lint(ROOT)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("harness/lsbench/spec.py", "from lsbench.records import SampleRecord"),
        ("harness/lsbench/engine/plan.py", "from lsbench.strategy import option"),
        ("harness/lsbench/strategy/options.py", "import ray"),
        ("harness/lsbench/report/plain.py", "import torch"),
        ("harness/lsbench/report/plain.py", "import typer"),
        ("harness/lsbench/store/atomic.py", "import rich.table"),
        ("harness/lsbench/measurement/depth.py", "import lm_eval"),
        ("harness/lsbench/engine/plan.py", "import scipy.stats"),
        ("harness/lsbench/errors.py", "import lsbench_strategies"),
        ("harness/lsbench/store/naming.py", "import transformers"),
        ("harness/lsbench/unplaced.py", "import json"),
        ("strategies/lsbench_strategies/layers.py", "from lsbench.engine.cache import KVCache"),
        ("strategies/lsbench_strategies/layers.py", "from lsbench.spec import Sampling"),
        ("tasks/lsbench_tasks/execution.py", "from lsbench.errors import BadInput"),
    ],
)
def test_an_import_out_of_its_room_is_found(tmp_path: Path, path: str, line: str) -> None:
    for name in ("harness", "strategies", "tasks"):
        for source in (ROOT / name).rglob("*.py"):
            copy = tmp_path / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    with (tmp_path / path).open("a") as source:
        source.write(f"\n{line}\n")
    outcome = lint(tmp_path)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "BROKEN" in outcome.stdout or "not listed as layers" in outcome.stdout
