"""economize's ``lookup``: what the text has had before is the draft."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import model_validator

from lsbench.strategy import Choice, IntRange, StrategyOptions, option
from lsbench_economize.drafting import EconomizeDrafting
from lsbench_economize.package import economize


class LookupOptions(StrategyOptions):
    """Options of ``economize_lookup``."""

    max_ngram: int = option(3, help="longest n-gram looked up", search=IntRange(1, 6), ge=1)
    min_ngram: int = option(1, help="shortest n-gram that is trusted", search=IntRange(1, 2), ge=1)
    match: Literal["earliest", "latest"] = option(
        "earliest", help="which occurrence is copied from", search=Choice(("earliest", "latest"))
    )
    num_speculations: int = option(
        10, help="tokens drafted per cycle, at most (cycle_length - 1)", search=IntRange(1, 20), ge=1
    )

    @model_validator(mode="after")
    def _in_order(self) -> LookupOptions:
        if self.min_ngram > self.max_ngram:
            raise ValueError(f"min_ngram={self.min_ngram} is longer than max_ngram={self.max_ngram}")
        return self


class EconomizeLookup(EconomizeDrafting):
    """Prompt lookup, as economize does it (Saxena 2023): tokens are copied, and verified together."""

    Options = LookupOptions

    def technique(self) -> Any:
        """As asked."""
        options = self._options
        return economize("economize.techniques.lookup").LookupConfig(
            max_ngram=options.max_ngram, min_ngram=options.min_ngram, match=options.match
        )

    def drafted(self) -> int:
        """As asked."""
        return self._options.num_speculations

    def draft_layers(self, num_layers: int) -> int:
        """None: drafts are copied."""
        return 0

    @property
    def _options(self) -> LookupOptions:
        return cast(LookupOptions, self.options)
