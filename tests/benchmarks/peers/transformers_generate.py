"""transformers' ``generate``: what most people would use."""

from __future__ import annotations

from benchmarks.peers.transformers_model import TransformersPeer


class TransformersGenerate(TransformersPeer):
    """Full depth, token by token."""

    name = "transformers generate"
