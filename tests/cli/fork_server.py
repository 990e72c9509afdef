"""Starts real processes quickly: imports what a run needs once, then forks one for each command it reads.

Orders are JSON lines: ``{"arguments": [...], "stdout": FILE, "stderr": FILE, "folder": FILE, "path": [...]}``
is answered with the process's id, ``{"wait": PID}`` with its exit code (negative: the signal).
``"stdin": FILE`` and ``"environment": {...}`` may stand beside them.
"""

import contextlib
import json
import os
import signal
import sys
import traceback


def preload() -> None:
    import datasets
    import lm_eval.evaluator
    import lm_eval.models.utils
    import lm_eval.tasks
    import rich.live
    import scipy.stats
    import torch
    import transformers
    from transformers.models.llama import modeling_llama

    import lsbench.cli.app
    import lsbench.engine.loading
    import lsbench.engine.session
    import lsbench.evaluation.scores
    import lsbench.execution.worker
    import lsbench.measurement.summary
    import lsbench.pipeline
    import lsbench.report.folder
    import lsbench.strategy.loops  # noqa: F401

    _ = (datasets, lm_eval, rich, scipy, torch, transformers, modeling_llama)


def run(order: dict) -> None:
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    # The orders that are still to come are not this process's to read.
    os.dup2(os.open(order.get("stdin", os.devnull), os.O_RDONLY), 0)
    sys.stdin = open(0)  # noqa: SIM115
    os.environ.update(order.get("environment", {}))
    os.chdir(order["folder"])
    sys.path[:0] = order["path"]
    # A shell that runs the tests in the background has its children ignore this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 70
    try:
        from lsbench.cli import main

        code = main(order["arguments"])
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


preload()
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
    elif (answer := os.fork()) == 0:
        run(order)
    print(answer, flush=True)
