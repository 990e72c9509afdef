"""What depths and drafts come to on a text that the model writes itself, before anything is timed.

The model continues the beginnings of the calibration texts, all at once; what each layer predicts on the way
is kept. A strategy is told by what it hands to the core's loops, whoever wrote it; one that hands over
nothing there, or decides by more than a plan, has no outlook.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine import DepthPlan, DepthPolicy, Session, StepContext
from lsbench.engine.lens import predictions
from lsbench.records import Outlook
from lsbench.spec import GenerateRequest
from lsbench.strategy import PolicyDraft
from lsbench.strategy.decoding_loop import Decoding, Speculation, loop_of

if TYPE_CHECKING:
    from lsbench.engine.stack import DecoderStack
    from lsbench.execution.worker import Contender

_TEXTS = 6
_READ, _WRITTEN = 24, 24
"""Tokens that are read of each text, and written after it."""
_FEWEST = 6
"""Tokens written in any case; further ones within ``_BUDGET_S``."""
_BUDGET_S = 1.5

Flags = npt.NDArray[np.bool_]
Told = Decoding | Speculation


@torch.inference_mode()
def outlooks(
    stack: DecoderStack, prompts: Sequence[Sequence[int]], contenders: Iterable[Contender]
) -> tuple[Outlook, ...]:
    """Of each contender that can be told beforehand; nothing runs where there is none.

    Args:
        stack: the model.
        prompts: token ids of texts that no task evaluates.
        contenders: prepared.
    """
    found = ((contender.label, _told(stack, contender)) for contender in contenders)
    told = [(label, loop) for label, loop in found if loop is not None and _tells(loop, stack.num_layers)]
    if not told or not prompts:
        return ()
    layers = {layer for _, loop in told for layer in _layers_asked(loop, stack.num_layers)}
    text = _OwnText(stack, prompts, layers)
    made = (_outlook(text, label, loop) for label, loop in told)
    return tuple(outlook for outlook in made if outlook is not None)


class _OwnText:
    """What the model writes after the beginnings of some texts, and what layers predicted meanwhile.

    Args:
        stack: the model.
        prompts: at least one.
        layers: whose predictions are kept.
    """

    def __init__(self, stack: DecoderStack, prompts: Sequence[Sequence[int]], layers: Iterable[int]) -> None:
        chosen = [prompt for prompt in prompts if len(prompt) >= _READ][:_TEXTS] or [max(prompts, key=len)]
        self.stack = stack
        self.read = min(_READ, min(map(len, chosen)), max(1, stack.context_length - _WRITTEN - 1))
        count = min(_WRITTEN, stack.context_length - self.read)
        self.session = Session(stack, batch=len(chosen), capacity=self.read + count)
        self._heard: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        self._write([prompt[: self.read] for prompt in chosen], count)

    def _write(self, beginnings: Sequence[Sequence[int]], count: int) -> None:
        device, agreement = self.stack.device, self.stack.agreement
        logits = self.session.prefill(torch.tensor(beginnings, dtype=torch.int64, device=device))
        full = DepthPlan.full(self.stack.num_layers)
        run: list[Tensor] = []
        said: list[Tensor] = []
        begin = time.perf_counter()
        token = logits.argmax(-1)
        for step in range(count):
            if step >= _FEWEST and agreement.flag(time.perf_counter() - begin > _BUDGET_S):
                break
            run.append(token)
            token = self.session.forward(token[:, None], full, self._hear).logits[:, 0].argmax(-1)
            said.append(token)
        self.tokens = torch.stack(run, dim=1)
        self.final = torch.stack(said, dim=1).cpu().numpy()
        ended = np.isin(self.tokens.cpu().numpy(), _ends(self.stack)).cumsum(axis=1) > 0
        self.alive = ~ended

    def _hear(self, sublayer: int, positions: object, entering: Tensor, leaving: Tensor) -> None:
        heard = self._heard.get(sublayer // 2 + 1) if sublayer % 2 else None
        if heard is not None:
            heard.append(leaving)

    def at(self, layer: int) -> Flags:
        """[B, N] where what leaves a layer predicts what the last one does."""
        chosen, _ = predictions(self.stack, torch.cat(self._heard[layer]))
        return np.equal(chosen.reshape(self.final.shape[::-1]).T, self.final)

    def under(self, plan: DepthPlan) -> tuple[Flags, float]:
        """[B, N] where decoding under a plan predicts what the full model does; layers run for a token."""
        self.session.truncate(self.read)
        result = self.session.forward(self.tokens, plan)
        agrees = result.logits.argmax(-1).cpu().numpy() == self.final
        layers = float(result.layers_run[0, -1])
        self._restore()
        return agrees, layers

    def drafted(self, plan: DepthPlan) -> tuple[Flags, float]:
        """Likewise where each token follows an exact text, as the first one of a draft does."""
        agrees = np.zeros_like(self.final, dtype=bool)
        layers = 0.0
        for place in reversed(range(self.final.shape[1])):
            self.session.truncate(self.read + place)
            result = self.session.forward(self.tokens[:, place : place + 1], plan)
            agrees[:, place] = result.logits[:, 0].argmax(-1).cpu().numpy() == self.final[:, place]
            layers = float(result.layers_run[0, 0])
        self._restore()
        return agrees, layers

    def texts(self, agrees: Flags) -> tuple[tuple[bool, ...], ...]:
        """What is known of each text, up to its end."""
        rows = zip(agrees, self.alive, strict=True)
        return tuple(tuple(row[alive].tolist()) for row, alive in rows if alive.any())

    def _restore(self) -> None:
        self.session.truncate(self.read)
        self.session.forward(self.tokens, DepthPlan.full(self.stack.num_layers))


def _told(stack: DecoderStack, contender: Contender) -> Told | None:
    request = GenerateRequest(
        task="",
        doc_id=0,
        arguments_sha256="",
        prompt="",
        prompt_tokens=(0,),
        max_new_tokens=_WRITTEN,
    )
    try:
        return loop_of(contender.strategy, Session(stack, capacity=1), request)
    except Exception:  # what is wrong with a strategy is told where it counts
        return None


def _policy(loop: Told) -> tuple[DepthPolicy | None, PolicyDraft | None]:
    """What decides depth, if nothing else is decided by it; and the draft that follows it."""
    if isinstance(loop, Decoding):
        return loop.policy, None
    draft = loop.draft
    # A draft of another kind may propose by more than its policy.
    return (draft.policy, draft) if type(draft) is PolicyDraft else (None, None)


def _tells(loop: Told, num_layers: int) -> bool:
    """Whether anything but full depth is decided, and only by a plan or by where to stop."""
    policy, draft = _policy(loop)
    if policy is None:
        return False
    plan = policy.constant_plan(num_layers)
    if plan is not None:
        return not plan.is_full
    return draft is None and _only_exits(policy, num_layers) and bool(_candidates(policy, num_layers))


def _layers_asked(loop: Told, num_layers: int) -> Sequence[int]:
    """Whose predictions an outlook needs."""
    policy, _ = _policy(loop)
    assert policy is not None  # it tells something
    plan = policy.constant_plan(num_layers)
    if plan is None:
        return _candidates(policy, num_layers)
    last = exit_of(plan)
    return () if last is None else (last,)


def exit_of(plan: DepthPlan) -> int | None:
    """The layer where a plan ends, 1..L; None for one that leaves out anything else."""
    layers = [attention and mlp for attention, mlp in zip(plan.run[::2], plan.run[1::2], strict=True)]
    last = sum(layers)
    whole = all(layers[:last]) and not any(plan.run[2 * last :])
    return last if last and whole else None


def _only_exits(policy: DepthPolicy, num_layers: int) -> bool:
    """Whether it decides nothing but whether a token stops at a layer: what it plans, after a prediction that
    is certain and after one that is not, is to run everything."""
    kind = type(policy)
    if kind.should_exit is DepthPolicy.should_exit or kind.replan is not DepthPolicy.replan:
        return False
    unsure, certain = torch.zeros(2), torch.tensor([50.0, 0.0])
    try:
        plans = [policy.plan(StepContext(num_layers, 1, 1, logits, 1.0)) for logits in (unsure, certain)]
    except Exception:  # it plans by what is not there yet
        return False
    return all(plan.is_full for plan in plans)


def _candidates(policy: DepthPolicy, num_layers: int) -> tuple[int, ...]:
    return tuple(sorted(layer for layer in policy.check_layers(num_layers) if 1 <= layer < num_layers))


def _outlook(text: _OwnText, label: str, loop: Told) -> Outlook | None:
    """Of a loop that tells something; None where the model ended every text at once."""
    policy, draft = _policy(loop)
    assert policy is not None
    if not text.alive.any():
        return None
    plan = policy.constant_plan(text.stack.num_layers)
    if plan is None:
        return _of_exits(text, label, _candidates(policy, text.stack.num_layers))
    last = exit_of(plan)
    if last is not None:
        agrees, layers = text.at(last), float(last)
    else:
        agrees, layers = text.under(plan) if draft is None else text.drafted(plan)
    if not isinstance(loop, Speculation) or draft is None:
        return Outlook(label=label, kind="decodes", layers=layers, exit_layer=last, agrees=text.texts(agrees))
    return Outlook(
        label=label,
        kind="drafts",
        layers=layers,
        exit_layer=last,
        resumed_layers=float(last if last is not None else plan.run.index(False) // 2),
        agrees=text.texts(agrees),
        num_speculations=loop.num_speculations,
        fixed_length=not loop.adaptive and not draft.stop_below,
        draft_head=1.0 if draft.head is None else draft.head.share,
    )


def _of_exits(text: _OwnText, label: str, candidates: tuple[int, ...]) -> Outlook:
    first = np.full(text.final.shape, text.stack.num_layers, dtype=np.float64)
    for layer in reversed(candidates):
        first[text.at(layer)] = layer
    found = first[text.alive]
    return Outlook(
        label=label,
        kind="exits",
        layers=float(found.mean()),
        spread=float(found.std() / np.sqrt(found.size)),
        candidates=candidates,
    )


def _ends(stack: DecoderStack) -> list[int]:
    """End-of-sequence ids by the model's own configuration."""
    given = getattr(stack.model.config, "eos_token_id", None)
    return [] if given is None else [given] if isinstance(given, int) else list(given)
