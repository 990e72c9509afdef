"""economize's early exit: self-speculation as in LayerSkip, with the model's own norm and head, untrained."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.economize_model import EconomizePeer
from benchmarks.peers.peer import Setting, beside_early_exit, package


class EconomizeEarlyExit(EconomizePeer):
    """Drafts with the same layers, and as many tokens, as ours."""

    name = "economize early_exit"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.beside = beside_early_exit(setting)

    def technique(self, setting: Setting) -> Any:
        """The first layers, frozen."""
        return package("economize.techniques.early_exit").EarlyExitConfig(
            exit_layer=setting.exit_layer, head="shared", adaptation="frozen"
        )

    def drafted(self, setting: Setting) -> int:
        """As ours."""
        return setting.num_speculations
