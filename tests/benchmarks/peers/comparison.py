"""Two sides take the same prompts in turns: who is how many times as fast, and how sure is that?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.peers.peer import Decoded, Peer, Prompts
from lsbench.measurement.statistics import ratio_of_totals_interval, speedup_interval, verdict
from lsbench.metrics import Interval

_WARM_UP_TOKENS = 8


@dataclass
class Side:
    """What one side took, one value a turn."""

    seconds: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tokens per second, a ratio of totals."""
        return sum(self.tokens) / sum(self.seconds)


@dataclass(frozen=True)
class Row:
    """A paired ratio.

    Attributes:
        measure: what was timed.
        ours: our side's name.
        peer: the other's.
        our_rate: tokens per second.
        peer_rate: tokens per second.
        interval: 95 %, of our rate over the peer's; None with too few turns.
        identical: outputs that are the same on both sides, token for token.
        outputs: how many there were.
    """

    measure: str
    ours: str
    peer: str
    our_rate: float
    peer_rate: float
    interval: Interval | None
    identical: int
    outputs: int

    @property
    def ratio(self) -> float:
        """Ours over the peer's."""
        return self.our_rate / self.peer_rate

    def __str__(self) -> str:
        if self.interval is None:
            sure = "no interval: too few turns"
        else:
            low, high = self.interval
            sure = f"95 % interval {low:.3f} to {high:.3f}, {verdict(self.interval)}"
        return (
            f"  {self.measure}: {self.ours} {self.our_rate:.1f} tokens/s, {self.peer} {self.peer_rate:.1f}; "
            f"ratio {self.ratio:.3f} ({sure}); {self.identical} of {self.outputs} outputs identical"
        )


def compare_decoding(ours: Peer, peer: Peer, turns: Sequence[Prompts], tokens: int) -> Row:
    """Speed after the first output: seconds and tokens of decoding alone.

    Args:
        ours: our side.
        peer: the other.
        turns: prompts that decode together, turn by turn.
        tokens: how many each prompt is continued by.
    """
    sides, same = _take_turns((ours, peer), turns, tokens, lambda done, _: (done.decode_s, done.decoded))
    mine, theirs = sides
    interval = speedup_interval(theirs.seconds, theirs.tokens, mine.seconds, mine.tokens)
    return Row("decode", ours.name, peer.name, mine.rate, theirs.rate, interval, *same)


def compare_prefill(ours: Peer, peer: Peer, turns: Sequence[Prompts]) -> Row:
    """Speed up to the first output: prompt tokens in the seconds from the call to it."""
    sides, same = _take_turns(
        (ours, peer), turns, 1, lambda done, prompts: (done.first_s, sum(map(len, prompts)))
    )
    mine, theirs = sides
    interval = ratio_of_totals_interval(theirs.seconds, mine.seconds)
    measure = f"prefill of {len(turns[0][0])}"
    return Row(measure, ours.name, peer.name, mine.rate, theirs.rate, interval, *same)


def _take_turns(
    peers: tuple[Peer, Peer],
    turns: Sequence[Prompts],
    tokens: int,
    taken: Callable[[Decoded, Prompts], tuple[float, float]],
) -> tuple[tuple[Side, Side], tuple[int, int]]:
    """Both on every turn, in an order that is reversed from turn to turn; the warm-up is discarded."""
    for peer in peers:
        peer.decode(turns[0], min(tokens, _WARM_UP_TOKENS))
    sides = (Side(), Side())
    identical = outputs = 0
    for number, prompts in enumerate(turns):
        done: dict[int, Decoded] = {}
        for place in (0, 1) if number % 2 == 0 else (1, 0):
            done[place] = peers[place].decode(prompts, tokens)
            seconds, count = taken(done[place], prompts)
            sides[place].seconds.append(seconds)
            sides[place].tokens.append(count)
        pairs = list(zip(done[0].outputs, done[1].outputs, strict=True))
        identical += sum(mine == theirs for mine, theirs in pairs)
        outputs += len(pairs)
    return sides, (identical, outputs)
