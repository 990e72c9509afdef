"""Calls into lm-eval that leave the process as they found it: quiet, seeded, and without side effects."""

from __future__ import annotations

import io
import logging
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import partialmethod

LOGGERS = ("lm_eval", "datasets", "evaluate", "huggingface_hub", "httpx", "urllib3", "filelock", "fsspec")


@contextmanager
def isolated(environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run the block with lm-eval's usual seeds and without its talk; undo everything afterwards.

    lm-eval seeds Python's and numpy's generators before it loads tasks, and a task may draw from them,
    so requests and scores must both start from the same seeds. Progress bars, log messages below
    critical, and text that lm-eval prints are held back.

    Args:
        environment: variables to set for the block only.
    """
    with ExitStack() as stack:
        stack.enter_context(_variables({**(environment or {}), "HF_ALLOW_CODE_EVAL": "0"}))
        stack.enter_context(_seeded())
        stack.enter_context(_quiet_loggers())
        stack.enter_context(_no_progress_bars())
        stack.enter_context(redirect_stdout(io.StringIO()))
        yield


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _seeded() -> Iterator[None]:
    import numpy
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    python, arrays = random.getstate(), numpy.random.get_state()
    random.seed(DEFAULT_RANDOM_SEED)
    numpy.random.seed(DEFAULT_OTHER_SEED)
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(arrays)


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Disable every bar created meanwhile; the environment variable is read too early to serve."""
    import datasets
    import tqdm

    init, datasets_bars = tqdm.tqdm.__init__, datasets.is_progress_bar_enabled()
    tqdm.tqdm.__init__ = partialmethod(init, disable=True)  # pyright: ignore[reportAttributeAccessIssue]
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        tqdm.tqdm.__init__ = init
        if datasets_bars:
            datasets.enable_progress_bars()
