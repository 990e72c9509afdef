"""Is a peer running the same model? Its greedy tokens beside ours in float32, before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.peer import Peer, Prompts
from lsbench.engine.stack import DecoderStack
from lsbench.execution.recheck import compare

ALLOWED_NOISE = 10.0
"""Another implementation adds in another order, and may err by so many times what transformers' own logits
do; a wrong model errs by thousands of times as much."""


def disagreement(
    stack: DecoderStack, ours: Peer, peer: Peer, groups: Sequence[Prompts], tokens: int
) -> str | None:
    """Why the peer's model is not ours, or None where nothing says so.

    Outputs that part are judged as a run's parity is: the two tokens must be as likely as each other, but for
    the rounding of float32.

    Args:
        stack: ours in float32.
        ours: decodes with it at full depth.
        peer: made in float32 too.
        groups: prompts, as they decode together.
        tokens: how many each is continued by.
    """
    for group in groups:
        pairs = zip(
            group, ours.decode(group, tokens).outputs, peer.decode(group, tokens).outputs, strict=True
        )
        for prompt, expected, found in pairs:
            parted = compare(stack, prompt, expected, found)
            if parted.first_difference is None:
                continue
            if parted.margin is None or parted.noise is None:
                return f"{len(found)} tokens instead of {len(expected)}"
            if parted.margin > ALLOWED_NOISE * parted.noise:
                return (
                    f"token {parted.first_difference} of a continuation differs in float32, and its logit by "
                    f"{parted.margin:.3g}, where rounding explains {parted.noise:.3g}"
                )
    return None
