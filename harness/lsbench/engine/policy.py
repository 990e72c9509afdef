"""Depth policies: what decides, token by token, how deep the model runs.

A policy fixes the plan of each step before it runs, and may look at the newest hidden state after
chosen layers to stop there or to change the rest of the plan. Everything it sees is computed on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property

import torch
from torch import Tensor

from lsbench.engine.partial_head import PartialHead
from lsbench.engine.plan import DepthPlan


class StepContext:
    """What is known before a step: where it stands, and the prediction that chose its token.

    Attributes:
        num_layers: L.
        position: absolute position of the token about to run.
        step: how many tokens ran since the prompt (0 for the first).
        prompt_length: tokens of the prompt.
        previous_logits: [V] that the token about to run was chosen from; in a draft with a trimmed head,
            minus infinity for tokens that it leaves out.
        prompt_perplexity: exp of the mean negative log-likelihood of the prompt's tokens given those
            before them; None unless the policy's ``needs_prompt_perplexity`` is set or when the
            prompt has a single token.
    """

    def __init__(
        self,
        num_layers: int,
        position: int,
        prompt_length: int,
        previous_logits: Tensor,
        prompt_perplexity: float | None,
    ) -> None:
        self.num_layers = num_layers
        self.position = position
        self.step = position - prompt_length
        self.prompt_length = prompt_length
        self.previous_logits = previous_logits
        self.prompt_perplexity = prompt_perplexity

    @cached_property
    def previous_entropy(self) -> float:
        """Entropy of the previous prediction, divided by log V: 0 (certain) to 1 (uniform)."""
        return normalised_entropy(self.previous_logits)

    @cached_property
    def previous_margin(self) -> float:
        """Probability of the previous prediction's first choice minus that of its second, 0 to 1."""
        return probability_margin(self.previous_logits)


class ExitView:
    """The newest position after some layer.

    Args:
        hidden: [D] after the layer; kept.
        previous_hidden: [D] that entered the layer; kept.
        head: final norm and head of the step, hidden states [N, D] to logits.
        partial: the head of the step where it reads some tokens alone: then ``head`` gives logits of these.
    """

    def __init__(
        self,
        hidden: Tensor,
        previous_hidden: Tensor,
        head: Callable[[Tensor], Tensor],
        partial: PartialHead | None = None,
    ) -> None:
        self.hidden = hidden
        self.previous_hidden = previous_hidden
        self._head = head
        self._partial = partial
        self._product: Tensor | None = None

    @cached_property
    def logits(self) -> Tensor:
        """[V] after final norm and head, minus infinity for tokens that the step's head leaves out.

        The product is made once, and reused if the token stops here.
        """
        made = self._made()
        return made if self._partial is None else self._partial.spread(made)

    def logits_of(self, head: PartialHead) -> Tensor:
        """[n] of some tokens; of those that the step predicts, the product is the step's own."""
        return self._made() if head is self._partial else head(self.hidden[None])[0]

    @property
    def has_looked(self) -> bool:
        """Whether anyone has asked for the product that ``logits`` come from."""
        return self._product is not None

    def _made(self) -> Tensor:
        if self._product is None:
            self._product = self._head(self.hidden[None])[0]
        return self._product

    @cached_property
    def cosine(self) -> float:
        """Cosine similarity of the layer's input and output."""
        return float(torch.cosine_similarity(self.hidden.float(), self.previous_hidden.float(), dim=0))


def heads_of(
    whole: Callable[[Tensor], Tensor], hidden: Tensor, partial: Sequence[PartialHead | None]
) -> list[Callable[[Tensor], Tensor]]:
    """A head for each of several positions looked at together, [n, D]: whoever asks first asks for all.

    A head's weights are read once for those that share it, as they are where everything else runs together.

    Args:
        whole: final norm and the whole head.
        hidden: of the positions.
        partial: the head of each, where it is not the whole one.
    """
    places: dict[PartialHead | None, list[int]] = {}
    for place, head in enumerate(partial):
        places.setdefault(head, []).append(place)
    made: dict[PartialHead | None, Tensor] = {}

    def row(head: PartialHead | None, place: int) -> Tensor:
        if head not in made:
            product = whole if head is None else head
            made[head] = product(hidden if len(places) == 1 else hidden[places[head]])
        row = places[head].index(place)
        return made[head][row : row + 1]

    return [lambda _, head=head, place=place: row(head, place) for place, head in enumerate(partial)]


class DepthPolicy:
    """Decides the plan of each step. Override what you need; one object serves one request.

    Attributes:
        needs_prompt_perplexity: ask for ``context.prompt_perplexity``, which costs the head over the
            whole prompt, within the time to first token.
        exit_confidence: of the token that ran last, the confidence at which it was let stop, in any measure;
            None where it was not, or where there is no such number. Kept with the results, and asked for
            nothing else: a policy that has one sets it where it decides, and back to None in ``plan``.
    """

    needs_prompt_perplexity: bool = False
    exit_confidence: float | None = None

    def plan(self, context: StepContext) -> DepthPlan:
        """The plan of the step about to run; every layer unless overridden."""
        return DepthPlan.full(context.num_layers)

    def constant_plan(self, num_layers: int) -> DepthPlan | None:
        """The one plan of every step, or None when it depends on anything.

        A policy that has one is scored with all tokens in one pass.
        """
        return None

    def check_layers(self, num_layers: int) -> Collection[int]:
        """Layers (1..L-1) after which ``replan`` and ``should_exit`` are called, where they run.

        All of them when either is overridden, none otherwise: a check at a layer that cannot decide
        anything is time lost.
        """
        cls = type(self)
        checks = cls.should_exit is not DepthPolicy.should_exit or cls.replan is not DepthPolicy.replan
        return range(1, num_layers) if checks else ()

    def should_exit(self, layer: int, exit_view: ExitView) -> bool:
        """Whether the token stops after ``layer`` (1..L-1)."""
        return False

    def replan(self, layer: int, exit_view: ExitView) -> DepthPlan | None:
        """A plan whose flags after ``layer`` replace those of the current one; None changes nothing."""
        return None


class ConstantPolicy(DepthPolicy):
    """The same plan at every step."""

    def __init__(self, plan: DepthPlan) -> None:
        self._plan = plan

    def plan(self, context: StepContext) -> DepthPlan:
        """The one plan."""
        return self._plan

    def constant_plan(self, num_layers: int) -> DepthPlan | None:
        """The one plan."""
        return self._plan


def normalised_entropy(logits: Tensor) -> float:
    """Shannon entropy of softmax(``logits`` [V]) divided by log V."""
    # A token that a trimmed head leaves out has no chance, and adds nothing.
    entropy = torch.special.entr(torch.softmax(logits.float(), dim=-1)).sum()
    return float(entropy) / float(torch.log(torch.tensor(float(logits.shape[-1]))))


def probability_margin(logits: Tensor) -> float:
    """First minus second largest probability of softmax(``logits`` [V])."""
    top = torch.topk(logits.float(), 2).values - torch.logsumexp(logits.float(), dim=-1)
    first, second = top.exp().tolist()
    return first - second
