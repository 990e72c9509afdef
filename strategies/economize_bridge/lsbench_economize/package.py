"""``economize``, imported when a strategy is prepared: to be listed, nothing of it is needed."""

from __future__ import annotations

import importlib
from typing import Any

from lsbench.strategy import CannotRun


def economize(module: str = "economize") -> Any:
    """The package, or one of its modules.

    Raises:
        CannotRun: it is not installed, or does not load here.
    """
    try:
        importlib.import_module("economize")
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "economize":
            raise CannotRun(f"economize needs {error.name}, which is not installed") from error
        raise CannotRun("economize is not installed; pip install 'economize>=0.3.2,<0.4'") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise CannotRun(f"economize does not load here: {error}") from error
