from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lsbench.store import machine


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_git_state_follows_the_repository(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert machine.git_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert machine.git_state(tmp_path) is None
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    state = machine.git_state(tmp_path)
    assert state == machine.GitState(commit=git(tmp_path, "rev-parse", "HEAD"), dirty=False)
    (tmp_path / "file").write_text("two")
    state = machine.git_state(tmp_path)
    assert state is not None
    assert state.dirty
    assert capfd.readouterr() == ("", "")


def test_without_git_there_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.git_state(tmp_path) is None


def test_versions_are_read_without_importing():
    code = (
        "import sys; from lsbench.store import machine; v = machine.versions(); machine.hardware();"
        "heavy = {'torch', 'transformers', 'ray', 'lm_eval', 'deepspeed'} & set(sys.modules);"
        "assert not heavy, heavy; assert v['torch'] and v['python'] == sys.version.split()[0], v"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
