"""The trusted code in the program's own process: takes the last limits, runs program and test, reports.

Given to a fresh interpreter as text, because nothing of this package can be seen from inside. How it keeps
the proof of a pass out of the program's reach is told in ``lsbench.evaluation.sandbox``.
"""

import marshal
import os
import resource
import sys

# The C originals: a version in Python would put a frame of its own below the program's.
from _collections import deque  # pyright: ignore[reportMissingImports]
from _functools import partial  # pyright: ignore[reportMissingImports]
from _operator import call
from types import ModuleType

VERDICT = 3


def forbid(
    event,
    arguments,
    events=frozenset(
        {
            "gc.get_objects",
            "gc.get_referrers",
            "gc.get_referents",
            "sys._current_frames",
            "sys.settrace",
            "sys.setprofile",
            "sys.monitoring.register_callback",
            "sys.addaudithook",
        }
    ),
    modules=frozenset(
        {
            "ctypes",
            "_ctypes",
            "_testcapi",
            "_testinternalcapi",
            "_testlimitedcapi",
            "_xxsubinterpreters",
            "_interpreters",
        }
    ),
    refused=RuntimeError,
    missing=ModuleNotFoundError,
):
    """Audit hook against looking into the interpreter; uses nothing that the program could replace."""
    if event in events:
        raise refused(f"{event} is not available here")
    if event == "import" and arguments[0] in modules:
        raise missing(f"{arguments[0]} is not available here", name=arguments[0])


def limit(which, value):
    """Lower one resource limit, soft and hard; the hard one can never be raised again."""
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    try:
        resource.setrlimit(which, (value, value))
    except (ValueError, OSError):
        if sys.platform == "linux":  # macOS refuses some of them whatever the value
            raise


def confine(order):
    """Take the limits, then give up the user id that could lift them."""
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, order["file_bytes"])
    limit(resource.RLIMIT_NOFILE, 64)
    limit(resource.RLIMIT_AS, order["memory_bytes"])
    if hasattr(resource, "RLIMIT_MSGQUEUE"):
        limit(resource.RLIMIT_MSGQUEUE, 0)
    limit(resource.RLIMIT_NPROC, order["processes"])
    limit(resource.RLIMIT_CPU, order["cpu_s"])
    if order["uid"] is not None:
        os.setgroups([])
        os.setgid(order["uid"])
        os.setuid(order["uid"])
    os.chdir(order["folder"])


def see_packages(import_path):
    """Import from ``import_path`` only, its first entry being where the standard library now lies."""
    standard = os.path.dirname(os.__file__)
    for module in list(sys.modules.values()):
        places = getattr(module, "__path__", None)
        if places:
            module.__path__ = [place.replace(standard, import_path[0], 1) for place in places]
    sys.path[:] = import_path
    sys.path_importer_cache.clear()


def steps():
    """What to do, one call after another, with everything the program must not find in none of its reach."""
    with os.fdopen(0, "rb", closefd=False) as given:
        order = marshal.loads(given.read())
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.set_inheritable(VERDICT, False)
    confine(order)
    see_packages(order["import_path"])
    sys.argv[:] = ["candidate"]
    module = ModuleType("candidate")
    sys.modules["candidate"] = module
    sys.addaudithook(forbid)
    os.write(VERDICT, b"R")
    return map(
        call,
        [
            partial(exec, compile(order["program"], "<program>", "exec", dont_inherit=True), module.__dict__),
            partial(exec, compile(order["test"], "<test>", "exec", dont_inherit=True), module.__dict__),
            partial(os.write, VERDICT, order["nonce"]),
            partial(os._exit, 0),
        ],
    )


try:
    deque(maxlen=0).extend(steps())
except:  # noqa: E722 - the program may have replaced the name BaseException by now
    try:
        kind, problem, trace = sys.exc_info()
        below = trace and trace.tb_next  # without the frame of the line above
        if kind and problem:
            sys.__excepthook__(kind, problem.with_traceback(below), below)
        sys.stderr.flush()
    finally:
        os._exit(1)
