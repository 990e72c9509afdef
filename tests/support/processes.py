"""Processes that this one has started, and those that Ray has started for it."""

from __future__ import annotations

import contextlib

import psutil


def running(process: psutil.Process) -> bool:
    """Whether it is there, and not merely waited for."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def children() -> set[psutil.Process]:
    """Everything below this process that runs."""
    return set(filter(running, psutil.Process().children(recursive=True)))


def ranks(processes: set[psutil.Process]) -> list[psutil.Process]:
    """Those of them that hold a model, or a part of one."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ray::Rank" in process.name():
                found.append(process)
    return found
