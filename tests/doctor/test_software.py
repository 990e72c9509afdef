import importlib.metadata
import platform
import sys

import pytest

from lsbench.doctor import software


def test_this_python_and_its_packages_are_found():
    assert software.python().detail == platform.python_version()
    assert software.python().status == software.packages().status == "ok"
    threads = software.torch_itself()
    assert threads.status == "ok"
    assert "thread" in threads.detail


def test_a_python_that_lsbench_is_not_made_for_is_missing(monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.14")
    found = software.python()
    assert found.status == "missing"
    assert "3.10.14" in found.detail
    assert ">=3.11" in found.detail


@pytest.fixture
def versions(monkeypatch):
    """Other versions than those installed; None for none."""
    real, other = importlib.metadata.version, {}

    def version(name):
        if name not in other:
            return real(name)
        if other[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return other[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return other


def test_what_a_run_needs_is_missing_where_it_is_absent_or_does_not_fit(versions):
    versions |= {"safetensors": None, "transformers": "4.50.0"}
    found = software.packages()
    assert found.status == "missing"
    assert "safetensors is not installed" in found.detail
    assert "transformers is 4.50.0, not " in found.detail
    assert found.advice.startswith("pip install 'transformers")
    assert "'safetensors" in found.advice
    assert software.scale().status == "ok"


def test_what_only_scale_needs_stops_no_run(versions):
    versions |= {"ray": None, "deepspeed": "0.1"}
    found = software.scale()
    assert found.status == "limited"
    assert "ray is not installed" in found.detail
    assert "'ray[tune]" in found.advice
    assert "'deepspeed" in found.advice
    assert "hyperopt" not in found.advice
    assert software.packages().status == "ok"


def test_a_torch_that_cannot_be_imported_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = software.torch_itself()
    assert found.status == "missing"
    assert "torch" in found.detail


def test_extras_are_no_requirement():
    assert "torch" in software.requirements()
    assert "ruff" not in software.requirements()
