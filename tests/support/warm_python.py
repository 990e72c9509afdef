"""Python that starts quickly: imports what takes long once, then forks for each command that it reads.

Orders are JSON lines: ``{"command": ["-m", "lsbench", ...], "folder": FOLDER, "said": FOLDER}``. Each is
answered with the exit code when the command has ended; what it said is in the files ``out`` and ``err``.
"""

import json
import os
import runpy
import sys
import traceback
from pathlib import Path

import pytest

import lsbench.cli.app
import lsbench.strategy.conformance
import lsbench.strategy.registry

_ = (pytest, lsbench)


def run(how: str, *arguments: str) -> None:
    """As ``python how arguments`` would."""
    if how == "-m":
        sys.argv, sys.path[0] = [*arguments], os.getcwd()
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.argv, sys.path[0] = ["-c", *arguments[1:]], ""
        exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = [how, *arguments], str(Path(how).resolve().parent)
        runpy.run_path(how, run_name="__main__")


def become(order: dict) -> int:
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(Path(order["said"], name), os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(order["folder"])
    try:
        run(*order["command"])
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


for line in sys.stdin:
    order = json.loads(line)
    if (pid := os.fork()) == 0:
        code = become(order)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
