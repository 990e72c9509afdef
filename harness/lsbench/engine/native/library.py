"""The compiled library: built once for this machine, this torch and this compiler, then loaded.

It lives in the user's cache under a name made of everything it depends on. Processes that start together
build it once, under a lock; what could not be built is remembered with its reason, so that nobody waits
again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lsbench.errors import BadInput
from lsbench.user_cache import cache_folder

PRODUCTS = "LSBENCH_PRODUCTS"
"""Environment variable: ``torch`` leaves the compiled products out, to compare; ``native`` is the default."""

_SOURCES = Path(__file__).parent
_LIBRARY, _FAILURE = "lsbench_native.so", "failure.txt"


@dataclass(frozen=True)
class NativeStatus:
    """Whether the compiled products serve.

    Attributes:
        available: they do.
        detail: in a few words: for which instruction set they are built, or why torch's products serve.
    """

    available: bool
    detail: str


def prepare(tell: Callable[[str], None] = lambda message: None) -> NativeStatus:
    """Build the library unless that was done, and load it.

    Args:
        tell: hears that it is being built, which takes a quarter of a minute, or awaited.

    Raises:
        BadInput: the environment variable ``LSBENCH_PRODUCTS`` says neither ``native`` nor ``torch``.
    """
    chosen = os.environ.get(PRODUCTS, "native")
    if chosen not in ("native", "torch"):
        raise BadInput(f"{PRODUCTS} is {chosen!r}; it can be native (the default) or torch")
    if chosen == "torch":
        return NativeStatus(False, f"left out by {PRODUCTS}=torch")
    return _prepared(tell)


def status() -> NativeStatus:
    """As ``prepare`` found it; it is prepared if that has not been done."""
    return prepare()


def library_folder() -> Path:
    """Where this machine's library is or will be."""
    return cache_folder() / "native" / _name()


_LOADED: list[NativeStatus] = []
"""What came of loading it: that is done once in a process, because torch takes an operator once."""


def _prepared(tell: Callable[[str], None]) -> NativeStatus:
    if not _LOADED:
        if _compiler() is None:
            return NativeStatus(False, "no C++ compiler was found (install g++ or clang, or set CXX)")
        _LOADED.append(_load(library_folder(), tell))
    return _LOADED[0]


def _load(folder: Path, tell: Callable[[str], None]) -> NativeStatus:
    import torch

    built, failure = folder / _LIBRARY, folder / _FAILURE
    try:
        _build_once(folder, tell)
        if failure.exists():
            reason = failure.read_text(encoding="utf-8").strip()
            return NativeStatus(False, f"they could not be compiled: {reason} (see {failure})")
        torch.ops.load_library(str(built))
    except OSError as error:
        return NativeStatus(False, f"they could not be built or loaded: {error}")
    _describe_to_torch()
    return NativeStatus(True, f"compiled for {_instruction_set()}")


def _build_once(folder: Path, tell: Callable[[str], None]) -> None:
    from filelock import FileLock, Timeout

    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell("waiting for another process that compiles the few-row products")
        lock.acquire()
    try:
        if not folder.exists():
            tell("compiling the few-row products for this machine (once, about half a minute)")
            _build(folder)
    finally:
        lock.release()


def _build(folder: Path) -> None:
    """Compile beside ``folder`` and move the outcome there whole: the library, or the reason why not."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as made:
        place = Path(made) / "build"
        place.mkdir()
        compiled = _compile(place)
        finished = Path(made) / "finished"
        finished.mkdir()
        if isinstance(compiled, Path):
            shutil.move(compiled, finished / _LIBRARY)
        else:
            (finished / _FAILURE).write_text(f"{compiled}\n", encoding="utf-8")
        finished.rename(folder)


def _compile(place: Path) -> Path | str:
    """The library made in the folder ``place``; or why there is none."""
    script = (
        "import sys; from torch.utils.cpp_extension import load; "
        "load('lsbench_native', sys.argv[2:3], extra_cflags=sys.argv[3:], build_directory=sys.argv[1], "
        "is_python_module=False)"
    )
    # In a process of its own: the loader sets up compilers, prints, and would load the library from where it
    # is built. Its build needs ninja, which may be installed beside Python without being on the path.
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    done = subprocess.run(
        [sys.executable, "-c", script, str(place), str(_SOURCES / "decoder.cpp"), *_flags()],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    built = place / _LIBRARY
    if built.exists():
        return built
    lines = (done.stdout + done.stderr).splitlines()
    telling = [line.strip() for line in lines if "error" in line.lower()] or [
        line for line in lines if line.strip()
    ]
    return telling[0] if telling else f"the compiler ended with code {done.returncode}"


@cache
def _flags() -> tuple[str, ...]:
    native = "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"
    # OpenMP is compiled for but not linked: its functions are those of the copy that torch has loaded, and
    # its threads torch's threads.
    return "-O3", native, "-fno-math-errno", "-fopenmp", "-Wno-psabi"


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "c++"))


@cache
def _name() -> str:
    """A name that changes with everything that the library depends on."""
    import torch

    compiler = _compiler()
    version = "" if compiler is None else _output(compiler, "--version")
    parts = [torch.__version__, sys.version, platform.machine(), _machine(), version, *_flags()]
    parts.extend(path.read_text(encoding="utf-8") for path in sorted(_SOURCES.glob("*.h")))
    parts.append((_SOURCES / "decoder.cpp").read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _machine() -> str:
    """What the processor can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@cache
def _instruction_set() -> str:
    """Which of the register widths of ``vectors.h`` the machine's compiler flags choose."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    return {"AVX512": "AVX-512", "AVX2": "AVX2"}.get(capability, platform.machine())


def _describe_to_torch() -> None:
    """Tell torch the shape of a product's outcome (for ``torch.compile``), and what else can make it."""
    import torch
    from torch import Tensor

    def meta(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty((*x.shape[:-1], weight.shape[0]))

    def plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.nn.functional.linear(x, weight, bias)

    torch.library.register_fake("lsbench::product", meta)
    torch.library.impl("lsbench::product", "CUDA")(plain)


@contextmanager
def without() -> Generator[None]:
    """Leave the compiled products out within a block, for a comparison in one process."""
    before = os.environ.get(PRODUCTS)
    os.environ[PRODUCTS] = "torch"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PRODUCTS]
        else:
            os.environ[PRODUCTS] = before
