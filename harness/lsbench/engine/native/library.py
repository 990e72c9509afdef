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
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lsbench.engine.native.tools import compiler_path, ninja_path, what_is_missing
from lsbench.errors import unknown
from lsbench.user_cache import cache_folder

PRODUCTS = "LSBENCH_PRODUCTS"
"""Environment variable: ``torch`` leaves the compiled products out, to compare; ``native`` is the default."""

GRAPHS = "LSBENCH_CUDA_GRAPHS"
"""Environment variable: ``0`` leaves CUDA graphs out, by which steps of few rows are replayed there."""

_SOURCES = Path(__file__).parent
_LIBRARY, _FAILURE = "lsbench_native.so", "failure.txt"
_CHOICES = ("native", "torch")


@dataclass(frozen=True)
class NativeStatus:
    """Whether the compiled products serve.

    Attributes:
        available: they do.
        detail: in a few words: for which instruction set they are built, or why torch's products serve.
    """

    available: bool
    detail: str


_LEFT_OUT = NativeStatus(False, f"left out by {PRODUCTS}=torch")


def wanted() -> bool:
    """Whether the compiled products are to be used, as ``LSBENCH_PRODUCTS`` says.

    Raises:
        BadInput: it says neither ``native`` nor ``torch``.
    """
    chosen = os.environ.get(PRODUCTS) or _CHOICES[0]
    if chosen not in _CHOICES:
        raise unknown(PRODUCTS, chosen, _CHOICES)
    return chosen == _CHOICES[0]


def graphs_wanted() -> bool:
    """Whether steps on CUDA are to be replayed as graphs: unless ``LSBENCH_CUDA_GRAPHS`` says otherwise.

    ``LSBENCH_PRODUCTS=torch`` leaves them out too.

    Raises:
        BadInput: one of the two says what it cannot.
    """
    chosen = os.environ.get(GRAPHS) or "1"
    if chosen not in ("0", "1"):
        raise unknown(GRAPHS, chosen, ("0", "1"))
    return wanted() and chosen == "1"


def prepare(tell: Callable[[str], None] = lambda message: None) -> NativeStatus:
    """Build the library unless that was done, and load it.

    Args:
        tell: hears that it is being built, which takes half a minute, or awaited.

    Raises:
        BadInput: the environment variable ``LSBENCH_PRODUCTS`` says neither ``native`` nor ``torch``.
    """
    if not wanted():
        return _LEFT_OUT
    if not _LOADED:
        _LOADED.append(_load(library_folder(), tell))
    return _LOADED[0]


def is_loaded() -> bool:
    """Whether the library's operators are there; nothing is built or loaded."""
    return bool(_LOADED) and _LOADED[0].available


def foresee() -> NativeStatus | None:
    """What ``prepare`` will find, as far as that is known without building or loading anything.

    Returns:
        None where the library is yet to be built.

    Raises:
        BadInput: as ``prepare``.
    """
    if not wanted():
        return _LEFT_OUT
    if _LOADED:
        return _LOADED[0]
    folder = library_folder()
    if (folder / _LIBRARY).exists():
        return _built()
    if (folder / _FAILURE).exists():
        return _failed(folder)
    missing = what_is_missing()
    return None if missing is None else NativeStatus(False, missing)


def library_folder() -> Path:
    """Where this machine's library is or will be."""
    return cache_folder() / "native" / _name()


_LOADED: list[NativeStatus] = []
"""What came of loading it: that is done once in a process, because torch takes an operator once."""


def _load(folder: Path, tell: Callable[[str], None]) -> NativeStatus:
    import torch

    try:
        if not folder.exists():
            missing = what_is_missing()
            if missing is not None:
                return NativeStatus(False, missing)
            _build_once(folder, tell)
        if (folder / _FAILURE).exists():
            return _failed(folder)
        torch.ops.load_library(str(folder / _LIBRARY))
    except OSError as error:
        return NativeStatus(False, f"the compiled ones could not be built or loaded: {error}")
    _describe_to_torch()
    return _built()


def _built() -> NativeStatus:
    return NativeStatus(True, f"compiled for {_instruction_set()}")


def _failed(folder: Path) -> NativeStatus:
    """What is remembered: a compiler that failed once is not waited for again."""
    told = folder / _FAILURE
    reason = told.read_text(encoding="utf-8").strip()
    return NativeStatus(False, f"compiling failed: {reason} (delete {folder} to try again)")


def _build_once(folder: Path, tell: Callable[[str], None]) -> None:
    from filelock import FileLock, Timeout

    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell("Waiting for another process that compiles the few-row products")
        lock.acquire()
    try:
        if not folder.exists():
            tell("Compiling the few-row products for this machine (once, about half a minute)")
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
    # is built. The tools may stand beside Python without being on the path.
    tools = [str(Path(tool).parent) for tool in (ninja_path(), compiler_path()) if tool is not None]
    path = os.pathsep.join((os.environ.get("PATH", ""), *tools))
    done = subprocess.run(
        [sys.executable, "-c", script, str(place), str(_SOURCES / "decoder.cpp"), *_flags()],
        env={**os.environ, "PATH": path, "CXX": compiler_path() or ""},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    built = place / _LIBRARY
    if built.exists():
        return built
    return _telling_line(done.stdout + done.stderr) or f"the build ended with code {done.returncode}"


def _telling_line(printed: str) -> str | None:
    """Of all that ninja, the compiler and Python print, the line that says what went wrong.

    Ninja passes on what the compiler said, after the command that failed; Python ends with the exception.
    """
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    failed = next((at for at, line in enumerate(lines) if line.startswith("FAILED:")), len(lines))
    said = [line for line in lines[failed + 2 :] if not line.startswith("ninja:")]
    return next(iter([line for line in said if "error" in line.lower()] or said or lines[-1:]), None)


@cache
def _flags() -> tuple[str, ...]:
    native = "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"
    # OpenMP is compiled for but not linked: its functions are those of the copy that torch has loaded, and
    # its threads torch's threads.
    return "-O3", native, "-fno-math-errno", "-fopenmp", "-Wno-psabi"


@cache
def _name() -> str:
    """A name that changes with everything that the library depends on."""
    import torch

    compiler = compiler_path()
    version = "" if compiler is None else _output(compiler, "--version")
    parts = [torch.__version__, sys.version, platform.machine(), _machine(), compiler or "", version]
    parts.extend(_flags())
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
    others = "NEON" if platform.machine().lower() in ("aarch64", "arm64") else platform.machine()
    return {"AVX512": "AVX-512", "AVX2": "AVX2"}.get(capability, others)


def _describe_to_torch() -> None:
    """Tell torch the shape of a product's outcome (for ``torch.compile``), and what else can make it."""
    import torch
    from torch import Tensor

    from lsbench.engine.native.dequantized import dequantized_product

    def meta(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty((*x.shape[:-1], weight.shape[0]))

    def plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.nn.functional.linear(x, weight, bias)

    def meta_int8(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty((*x.shape[:-1], weight.shape[0]))

    def torchs_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        return torch.nn.functional.rms_norm(x, weight.shape, weight, epsilon)

    torch.library.register_fake("lsbench::rms_norm", lambda x, weight, epsilon: torch.empty_like(x))
    torch.library.impl("lsbench::rms_norm", "CUDA")(torchs_norm)
    torch.library.register_fake(
        "lsbench::likeliest", lambda logits: logits.new_empty(logits.shape[0], dtype=torch.int64)
    )
    torch.library.impl("lsbench::likeliest", "CUDA")(lambda logits: logits.argmax(-1))
    torch.library.register_fake("lsbench::product", meta)
    torch.library.impl("lsbench::product", "CUDA")(plain)
    torch.library.register_fake("lsbench::product_int8", meta_int8)
    torch.library.impl("lsbench::product_int8", "CUDA")(dequantized_product)


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
