"""Python's collector of cyclic garbage, kept from walking through all that was loaded while things are timed.

Half a million objects of torch and transformers are alive in every process; a full collection visits each of
them, which takes as long as several tokens and falls on whoever is timed then.
"""

from __future__ import annotations

import gc


def settle() -> None:
    """Collect now; what is left is visited by no collection until ``unsettle``."""
    gc.collect()
    gc.freeze()


def unsettle() -> None:
    """Everything is collected as usual again."""
    gc.unfreeze()
