"""A model small enough that every sequence it may write can be enumerated."""

from __future__ import annotations

import copy

from lsbench.engine import DecoderStack
from lsbench.spec import Sampling
from lsbench.strategy import Preparation
from support.distribution import Output, exact_chances
from support.models import random_llama

VOCABULARY, LENGTH, LAYERS = 6, 4, 3
PROMPT = (2, 5, 1)


class SixTokens:
    """Three layers over six tokens, whose first layer alone says something quite different.

    Attributes:
        theirs: transformers' own.
        stack: the same under the engine.
        preparation: with calibration prompts.
    """

    def __init__(self) -> None:
        model = random_llama(
            11,
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=32,
            initializer_range=0.35,
        ).double()
        self.theirs = copy.deepcopy(model)
        self.stack = DecoderStack(model)
        self.preparation = Preparation(self.stack, ((1, 2, 3, 4, 5, 0, 2, 4), (5, 4, 3, 3, 1)))

    def exact(self, sampling: Sampling) -> dict[Output, float]:
        """Probability of every sequence of ``LENGTH`` tokens after ``PROMPT``."""
        return exact_chances(self.theirs, VOCABULARY, PROMPT, LENGTH, sampling)
