"""A look inside a model that was never taken, with a text that is up to no good."""

from __future__ import annotations

from datetime import UTC, datetime

from lsbench.insight.outcome import Draft, Exit, Inspection, Layer, ModelRead, Oracle, Skips, Step, Text
from lsbench.records import StepCost

LAYERS = 30
NASTY = "\x1b[31m<b>evil</b>&\u202e"
VOCABULARY = {0: " the", 1: "\n", 2: NASTY, 3: "字字字字字字字字字字"}


def step_of(number: int) -> Step:
    """There for good from layer ``number`` + 1 on, and once at layer 1."""
    kept = 1 + number % LAYERS
    choices = tuple(0 if layer >= kept or layer == 1 else 2 for layer in range(1, LAYERS + 1))
    chances = tuple(layer / LAYERS for layer in range(1, LAYERS + 1))
    return Step(token=number % 4, choices=choices, chances=chances, reached=1, kept=kept)


def _layer(number: int) -> Layer:
    return Layer(
        layer=number,
        agreement=number / LAYERS,
        reached=number / LAYERS,
        kept=number / LAYERS,
        attention_influence=0.01,
        mlp_influence=0.02,
        attention_bytes=1,
        mlp_bytes=2,
    )


def inspection() -> Inspection:
    """Of thirty layers and two prompts, forty steps each."""
    draft = Draft(num_speculations=2, acceptance=0.08, tokens_per_cycle=1.1, speedup=0.7)
    size = LAYERS + 1
    return Inspection(
        schema=1,
        inspect_id="20261126-101112-inspect-prompt-abcd",
        created=datetime(2026, 11, 26, 10, 11, 12, tzinfo=UTC),
        model=ModelRead(
            id="tiny", sha256="0" * 64, num_layers=LAYERS, dtype="float32", device="cpu", threads=1
        ),
        texts=tuple(
            Text(
                name=f"prompt {place}",
                prompt=f"</pre><script>alert(1)</script>{NASTY}",
                prompt_tokens=3,
                continuation=NASTY,
                steps=tuple(step_of(number) for number in range(40)),
            )
            for place in range(2)
        ),
        vocabulary=VOCABULARY,
        layers=tuple(_layer(number) for number in range(1, LAYERS + 1)),
        similarity=tuple(tuple(1 - abs(a - b) / size for b in range(size)) for a in range(size)),
        costs=(StepCost(width=1, context=8, layer_s=1, attention_s=None, mlp_s=None, head_s=1, fixed_s=1),),
        exits=tuple(Exit(layer=layer, speedup=1.5, draft=draft) for layer in range(1, LAYERS)),
        first_reached=Oracle(mean_layers=20.0, speedup=1.4),
        kept=Oracle(mean_layers=25.0, speedup=1.2),
        skips=(
            Skips(share=0.1, weight_share=0.09, items=("12.mlp",), agreement=0.5, speedup=1.1, draft=draft),
        ),
        follows=("At layer 15 the model predicts its own final token 8% of the time.",),
        notes=(f"note {NASTY}",),
    )
