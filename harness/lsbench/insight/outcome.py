"""What came of a look inside a model: ``inspect.json``, which the terminal and the page show."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Annotated

from pydantic import Field

from lsbench.records import StepCost
from lsbench.spec import Frozen

SCHEMA = 1
JSON = "inspect.json"
PAGE = "inspect.html"
BASIS = (
    "Speeds follow from what layers and head cost on this machine, and leave out checks, filling of keys and "
    "values, and Python: a bound cannot be beaten on these texts, an estimate is what the setting that was "
    "played through would come to on them."
)
"""How the speeds are to be read."""

Share = Annotated[float, Field(ge=0, le=1)]


class Step(Frozen):
    """One token that was run to predict the next, and what each layer would have predicted."""

    token: int
    """The id that was run."""
    choices: tuple[int, ...]
    """[L] the likeliest next token after each layer; the last is the model's own prediction."""
    chances: tuple[Share, ...]
    """[L] its probability there, at temperature 1."""
    reached: int
    """The first layer, 1..L, that predicts what the last does."""
    kept: int
    """The first layer from which on every layer does: where an oracle would stop."""


class Text(Frozen):
    """A prompt, and the model's own greedy continuation of it, run once more at one go."""

    name: str
    """``prompt``, or a task and the number of its document."""
    prompt: str
    prompt_tokens: int
    continuation: str
    steps: tuple[Step, ...]
    """One for each token of the continuation but the last. The first token is the prefill's, which no
    strategy shortens: no step predicts it."""


class Layer(Frozen):
    """One layer over all steps of all texts."""

    layer: int
    """1..L."""
    agreement: Share
    """Share of steps at which it predicts what the last layer does."""
    reached: Share
    """Share of steps whose final prediction has been there at this layer or before."""
    kept: Share
    """Share of steps whose final prediction is there for good from this layer or before."""
    attention_influence: float
    """1 - cosine of what enters the attention sub-layer and what leaves it, the mean over steps; 0 to 2."""
    mlp_influence: float
    """Likewise."""
    attention_bytes: float
    """Of weights that a token reads there."""
    mlp_bytes: float


class Draft(Frozen):
    """What the best number of drafted tokens makes of a draft: an estimate, for these texts."""

    num_speculations: int
    acceptance: float | None
    """Taken of drafted tokens."""
    tokens_per_cycle: float
    speedup: float


class Exit(Frozen):
    """Every token stops at one layer."""

    layer: int
    speedup: float
    """At most: by measured costs of layers and head, and nothing else."""
    draft: Draft
    """The same exit as a draft of ``self_speculative``, with the best number of speculations."""


class Oracle(Frozen):
    """Exits of an exit rule that knows beforehand what the last layer will say."""

    mean_layers: float
    """That run for a token."""
    speedup: float
    """At most: looking costs nothing here, nor do keys and values of what was left out."""


class Skips(Frozen):
    """The sub-layers of least influence per byte left out, as many as make a share of all their weights."""

    share: Share
    """Of weights, as asked."""
    weight_share: Share
    """As it came out, with whole sub-layers."""
    items: tuple[str, ...]
    """As ``skip_set`` takes them: ``12.attention``, ``12.mlp``."""
    agreement: Share
    """Share of tokens of these texts that it predicts as the full model does, unverified."""
    speedup: float
    draft: Draft
    """The same set as a draft of ``self_speculative``."""


class ModelRead(Frozen):
    """Which weights were looked into, and how they were run."""

    id: str
    sha256: str
    num_layers: int
    dtype: str
    device: str
    threads: int


class Inspection(Frozen):
    """All of it."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    inspect_id: str
    created: datetime
    """UTC."""
    model: ModelRead
    texts: tuple[Text, ...]
    vocabulary: dict[int, str]
    """The text of every token that is named."""
    layers: tuple[Layer, ...]
    similarity: tuple[tuple[float, ...], ...]
    """[L + 1, L + 1] mean cosine of the hidden states before the first layer and after each."""
    costs: tuple[StepCost, ...]
    """What the parts of a step cost on this machine."""
    exits: tuple[Exit, ...]
    """For every layer but the last."""
    first_reached: Oracle
    """Stops where the final prediction is first reached: no rule that keeps every token can stop earlier."""
    kept: Oracle
    """Stops where it is reached and kept."""
    skips: tuple[Skips, ...]
    follows: tuple[str, ...]
    """What follows, in sentences: one for each kind of strategy, and what it comes to."""
    notes: tuple[str, ...] = ()

    @property
    def num_layers(self) -> int:
        """L."""
        return self.model.num_layers

    @cached_property
    def num_steps(self) -> int:
        """Tokens that all shares are of."""
        return sum(len(text.steps) for text in self.texts)

    def layer(self, layer: int) -> Layer:
        """One by its number, 1..L."""
        return self.layers[layer - 1]

    def token(self, token: int) -> str:
        """The text of a token that is named in here."""
        return self.vocabulary[token]

    @property
    def best_exit_draft(self) -> Exit:
        """The exit that drafts best."""
        return max(self.exits, key=lambda each: each.draft.speedup)
