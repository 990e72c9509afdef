"""Where what is made once for a user is kept: models, data, and what is compiled for the machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for lsbench; the environment variable ``LSBENCH_CACHE`` overrides it."""
    from platformdirs import user_cache_path

    given = os.environ.get("LSBENCH_CACHE")
    return Path(given).expanduser().absolute() if given else user_cache_path("lsbench")
