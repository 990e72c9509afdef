"""economize's prompt lookup: what the text has had before is the draft."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.economize_model import EconomizePeer
from benchmarks.peers.peer import Setting, package


class EconomizeLookup(EconomizePeer):
    """Matches of three tokens at most, which is economize's default."""

    name = "economize lookup"

    def technique(self, setting: Setting) -> Any:
        """Its defaults."""
        return package("economize.techniques.lookup").LookupConfig()

    def drafted(self, setting: Setting) -> int:
        """As transformers' lookup."""
        return setting.lookup_tokens
