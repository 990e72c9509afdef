"""How the library is built: once, by whoever comes first; and what serves where it cannot be."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from lsbench.engine.linear import Linear
from lsbench.engine.native import library
from lsbench.engine.native.library import PRODUCTS, foresee, library_folder, prepare, without
from lsbench.errors import BadInput

REASON = "out of order"


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A process that has loaded nothing, of a user for whom nothing was built."""
    monkeypatch.setenv("LSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(PRODUCTS, raising=False)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(library, "_LOADED", [])
    library._name.cache_clear()
    yield
    library._name.cache_clear()


@pytest.fixture
def compiling(fresh, monkeypatch):
    """Every compilation, which ends as it is told: with a reason, or with what torch cannot load."""

    class Compiling(list):
        gives = REASON

    done = Compiling()

    def compile_(place: Path):
        done.append(place)
        if isinstance(done.gives, bytes):
            (place / library._LIBRARY).write_bytes(done.gives)
            return place / library._LIBRARY
        return done.gives

    monkeypatch.setattr(library, "_compile", compile_)
    monkeypatch.setattr(library, "what_is_missing", lambda: None)
    return done


def another_process(monkeypatch):
    monkeypatch.setattr(library, "_LOADED", [])


@pytest.mark.usefixtures("fresh")
def test_without_a_compiler_torchs_product_serves(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert foresee() == prepare()
    assert not prepare().available
    assert prepare().detail == "CXX names 'no-such-compiler', which is no program"
    assert not (tmp_path / "cache").exists()
    weight = torch.nn.Parameter(torch.randn(5, 3))
    x = torch.randn(2, 3)
    assert torch.equal(Linear(weight)(x), x @ weight.T)


def test_a_compiler_that_fails_is_not_waited_for_again(compiling, monkeypatch):
    said = []
    first = prepare(said.append)
    assert not first.available
    assert REASON in first.detail
    assert str(library_folder()) in first.detail
    assert len(said) == 1
    another_process(monkeypatch)
    assert foresee() == prepare(said.append) == first
    assert (len(compiling), len(said)) == (1, 1)
    assert [path.name for path in library_folder().iterdir()] == [library._FAILURE]
    assert not any(path.is_dir() and path != library_folder() for path in library_folder().parent.iterdir())


def test_what_torch_cannot_load_is_told(compiling):
    compiling.gives = b"not a library"
    assert foresee() is None
    found = prepare()
    assert not found.available
    assert "could not be built or loaded" in found.detail


def test_a_cache_that_cannot_be_written_is_told(compiling, tmp_path):
    (tmp_path / "cache").write_text("a file")
    found = prepare()
    assert not found.available
    assert "could not be built or loaded" in found.detail


def test_an_interrupted_build_leaves_nothing(compiling, monkeypatch):
    def stop(place):
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "_compile", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare()
    assert foresee() is None
    assert not any(path.is_dir() for path in library_folder().parent.iterdir())


def _take_part(log: str) -> None:
    """Another process, which compiles slowly and leaves a line when it does, and one for what it was told."""

    def compile_(place: Path) -> str:
        time.sleep(0.3)
        note("compiled")
        return REASON

    def note(text: str) -> None:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    library._compile = compile_
    found = prepare(lambda text: note(text.split()[0]))
    os._exit(0 if REASON in found.detail else 1)


@pytest.mark.usefixtures("compiling")
def test_processes_that_begin_together_build_once(tmp_path):
    library_folder().parent.mkdir(parents=True)
    fork = multiprocessing.get_context("fork")
    log = tmp_path / "log"
    both = [fork.Process(target=_take_part, args=(str(log),)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
        assert process.exitcode == 0
    assert sorted(log.read_text().split()) == ["Compiling", "Waiting", "compiled"]


@pytest.mark.parametrize(("value", "wanted"), [("native", True), ("torch", False), ("", True)])
def test_the_environment_chooses(value, wanted, monkeypatch):
    monkeypatch.setenv(PRODUCTS, value)
    assert library.wanted() is wanted


@pytest.mark.parametrize(("value", "meant"), [("nativ", "native"), ("pytorch", "torch")])
def test_a_misspelt_choice_gets_the_nearest(value, meant, monkeypatch):
    monkeypatch.setenv(PRODUCTS, value)
    for function in (prepare, foresee):
        with pytest.raises(BadInput, match=f"{PRODUCTS} '{value}'. Did you mean '{meant}'") as caught:
            function()
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("before", [None, "native", "torch"])
def test_a_block_may_leave_them_out(before, monkeypatch):
    monkeypatch.delenv(PRODUCTS, raising=False)
    if before is not None:
        monkeypatch.setenv(PRODUCTS, before)
    with without():
        assert prepare().detail == "left out by LSBENCH_PRODUCTS=torch"
        assert Linear(torch.nn.Parameter(torch.randn(5, 3)))._most == 0
    assert os.environ.get(PRODUCTS) == before
    with pytest.raises(ZeroDivisionError), without():
        1 / 0  # noqa: B018
    assert os.environ.get(PRODUCTS) == before


def test_the_name_changes_with_the_compiler(fresh, tmp_path, monkeypatch):
    names = set()
    for version in (1, 2, 2):
        program = tmp_path / "cxx"
        program.write_text(f"#!/bin/sh\necho made up {version}\n")
        program.chmod(0o755)
        monkeypatch.setenv("CXX", str(program))
        library._name.cache_clear()
        names.add(library_folder().name)
    assert len(names) == 2


@pytest.mark.parametrize(
    ("printed", "telling"),
    [
        (
            "[1/2] c++ a.o\nFAILED: a.o \nc++ -c a.cpp\nin file a\na.h:3: fatal error\nninja: stopped",
            "a.h:3",
        ),
        ("[1/2] c++ a.o\nFAILED: a.o \nc++ -c a.cpp\nout of order\nninja: stopped", "out of order"),
        ("a warning\nTraceback:\n  ...\nRuntimeError: Ninja is required", "RuntimeError: Ninja is required"),
    ],
)
def test_the_line_that_tells_is_found(printed, telling):
    assert library._telling_line(printed).startswith(telling)


def test_silence_tells_nothing():
    assert library._telling_line("\n") is None


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_what_a_real_build_says_is_passed_on(tmp_path, monkeypatch):
    program = tmp_path / "cxx"
    program.write_text(
        '#!/bin/sh\ncase "$1" in -*[!c]*on) exit;; esac\necho "fake: out of order" >&2\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    assert "compiling failed: fake: out of order" in prepare().detail
