"""An answer while it is being written: its tokens, how fast they come, and what was saved on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lsbench.report import figures


@dataclass(frozen=True)
class Written:
    """A token as it is out.

    Attributes:
        text: what it adds to the text; empty for special tokens and as long as a character is not complete.
        kind: ``decoded`` by itself, ``accepted`` draft, or the verifier's own, ``verified``.
        layers: that it ran; None where the strategy cannot tell.
        seconds: since the request, without what showing it takes.
        drafted: tokens drafted in the cycle that begins with it; None where none does.
    """

    text: str
    kind: Literal["decoded", "accepted", "verified"]
    layers: float | None
    seconds: float
    drafted: int | None


@dataclass(frozen=True)
class Look:
    """How a token is shown.

    Attributes:
        style: Rich's name of it; empty for plain.
        meaning: of that style, in the legend.
    """

    style: str
    meaning: str


@dataclass
class AnswerPace:
    """What is known of an answer so far.

    Args:
        num_layers: L of the model.
    """

    num_layers: int
    tokens: int = 0
    accepted: int = 0
    drafted: int = 0
    layers: float | None = 0.0
    """Run by all tokens but the first, which the prefill makes; None where the strategy cannot tell."""
    first_s: float = 0.0
    last_s: float = 0.0
    looks: list[Look] = field(default_factory=list)
    """Those that were seen."""

    def add(self, token: Written) -> Look:
        """Count a token; how it is to be shown."""
        self.tokens += 1
        self.accepted += token.kind == "accepted"
        self.drafted += token.drafted or 0
        self.last_s = token.seconds
        if self.tokens == 1:
            self.first_s = token.seconds
        elif self.layers is not None:
            self.layers = None if token.layers is None else self.layers + token.layers
        look = self._look(token)
        if look not in self.looks:
            self.looks.append(look)
        return look

    @property
    def tokens_per_second(self) -> float | None:
        """After the first token; None where nothing came after it."""
        elapsed = self.last_s - self.first_s
        return (self.tokens - 1) / elapsed if self.tokens > 1 and elapsed > 0 else None

    def words(self) -> str:
        """All that in one line."""
        parts = [f"{self.tokens} token{'s' * (self.tokens != 1)}"]
        if self.tokens_per_second is not None:
            parts.append(f"{figures.significant(self.tokens_per_second)} tokens/s")
        if self.tokens:
            parts.append(f"first after {figures.milliseconds(self.first_s)}")
        if self.drafted:
            parts.append(f"{figures.share(self.accepted / self.drafted)} of drafts accepted")
        elif self.layers is not None and self.tokens > 1:
            mean = self.layers / (self.tokens - 1)
            parts.append(f"{figures.significant(mean)} of {self.num_layers} layers a token")
        return " · ".join(parts)

    def _look(self, token: Written) -> Look:
        if token.kind == "accepted":
            return Look("green", "drafted, accepted")
        if token.kind == "verified":
            return Look("bold blue", "the verifier's own")
        if token.layers is None:
            return Look("", "depth not known")
        if token.layers >= self.num_layers:
            return Look("", f"all {self.num_layers} layers")
        if token.layers > self.num_layers / 2:
            return Look("yellow", f"fewer than {self.num_layers} layers")
        return Look("magenta", "at most half of the layers")
