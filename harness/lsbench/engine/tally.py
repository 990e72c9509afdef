"""What a session did besides running layers for new tokens and predicting after them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tally:
    """Counts since the session was made.

    Attributes:
        checks: how often a policy looked at a token on its way up.
        spare_heads: of these, how often it read all logits and the token went on, so that they were made for
            the look alone.
        filled: keys and values that were projected from a hidden state passing by: one for each position and
            layer.
        older_rows: sub-layers run by positions that were left pending: each one that a position ran counts.
        own_passes: sub-layers that these ran without a new token beside them, however many together.
        ridden: sub-layers that new tokens ran with such positions beside them, however many.
    """

    checks: int = 0
    spare_heads: int = 0
    filled: int = 0
    older_rows: int = 0
    own_passes: int = 0
    ridden: int = 0
