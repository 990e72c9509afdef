"""Session: one batch of sequences being decoded, and the KV contract towards whoever decodes.

1. Prefill is full depth and exact.
2. ``forward`` runs tokens under a plan or a policy; keys and values it leaves out are filled as the
   plan says.
3. ``verify`` takes every position that is not exact, and any further tokens, to full depth, resuming each
   where it was still exact. It may begin earlier, to say what exact positions predict: since
   ``begin_draft`` these resume at the head.
4. ``truncate`` forgets.
5. After any mix that leaves only exact positions, the next logits equal those of a fresh full pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine.cache import KVCache
from lsbench.engine.partial_head import PartialHead
from lsbench.engine.perplexity import perplexity
from lsbench.engine.plan import DepthPlan, check_plan
from lsbench.engine.policy import DepthPolicy, StepContext
from lsbench.engine.stack import DecoderStack
from lsbench.engine.step_request import Observer, StepOutcome, StepRequest
from lsbench.engine.step_result import StepResult
from lsbench.engine.stepping import take_step as take_step_alone
from lsbench.engine.tally import Tally


class Session:
    """A batch of sequences over one model.

    Args:
        stack: the model.
        batch: B.
        capacity: positions to allocate for; more is made room for by doubling.
        take_step: runs what it asks for; None runs it by itself, at once.

    Attributes:
        tally: what it did besides running new tokens.
    """

    def __init__(
        self,
        stack: DecoderStack,
        batch: int = 1,
        capacity: int = 256,
        take_step: Callable[[StepRequest], StepOutcome] | None = None,
    ) -> None:
        self.stack = stack
        self._take_step = take_step or (lambda request: take_step_alone(stack, [request])[0])
        self.batch = batch
        shape = stack.shape
        self.cache = KVCache(
            stack.num_layers, batch, shape.kv_heads, shape.head_width, stack.dtype, stack.device, capacity
        )
        self.tally = Tally()
        self.prompt_perplexity: list[float | None] = [None] * batch
        self.prompt_lengths = [0] * batch
        self._tokens: list[list[int]] = [[] for _ in range(batch)]
        self._full = DepthPlan.full(stack.num_layers)
        self._predictions: list[tuple[int, Tensor] | None] = [None] * batch
        self._share = _layer_shares(stack)
        self._depths: dict[tuple[bool, ...], float] = {}

    @property
    def model(self) -> torch.nn.Module:
        """The transformers model, for a strategy that brings a decoding loop of its own."""
        return self.stack.model

    @property
    def num_layers(self) -> int:
        """L."""
        return self.stack.num_layers

    @property
    def lengths(self) -> tuple[int, ...]:
        """Positions held, for each sequence."""
        return tuple(int(length) for length in self.cache.lengths)

    @property
    def exact_lengths(self) -> tuple[int, ...]:
        """Leading positions that ran wholly and exactly, for each sequence."""
        return tuple(self.cache.exact_lengths)

    def tokens(self, sequence: int = 0) -> tuple[int, ...]:
        """Ids held by one sequence."""
        return tuple(self._tokens[sequence])

    @torch.inference_mode()
    def prefill(self, tokens: Tensor, with_perplexity: bool = False) -> Tensor:
        """Run a prompt at full depth.

        Args:
            tokens: [B, T] int64, T >= 1.
            with_perplexity: also fill ``prompt_perplexity``, at the cost of the head on every position.

        Returns:
            logits [B, V] after the last token.
        """
        self._check_tokens(tokens)
        self.prompt_lengths = [int(length) + tokens.shape[1] for length in self.cache.lengths]
        outcome = self._step(tokens, [self._full] * self.batch, {}, last_only=True)
        logits = outcome.logits
        if with_perplexity:
            hidden = outcome.hidden.view(self.batch, tokens.shape[1], -1)
            self.prompt_perplexity = [perplexity(self.stack, hidden[b], tokens[b]) for b in range(self.batch)]
        for sequence in range(self.batch):
            self._predictions[sequence] = (self.lengths[sequence] - 1, logits[sequence][None])
        return logits

    @torch.inference_mode()
    def forward(
        self,
        tokens: Tensor,
        plan_or_policy: DepthPlan | DepthPolicy | Sequence[DepthPolicy],
        observer: Observer | None = None,
        head: PartialHead | None = None,
    ) -> StepResult:
        """Append tokens and run them under a plan, or as deep as a policy decides.

        Under one plan all tokens are one step: what is pending rides along once, with all of them. A
        policy whose plan depends on anything takes them one after the other.

        Args:
            tokens: [B, T] int64, T >= 1.
            plan_or_policy: one plan for all; one policy for all; or one policy for each sequence.
            observer: told what these positions run, sub-layer by sub-layer, and those that ride along.
            head: predicts some tokens alone (``stack.partial_head``), and its rows of the head are all that
                is read of it, by a policy's looks too: for a draft. None is the whole head. What the session
                holds is the same; what it predicts is the full model's with the whole head alone.

        Raises:
            ValueError: a plan for another number of layers, or a shape that does not fit.
        """
        self._check_tokens(tokens)
        if isinstance(plan_or_policy, DepthPlan):
            return self._planned(tokens, [plan_or_policy] * self.batch, {}, observer, head)
        # Asked of the abstract class, it would take longer.
        single = isinstance(plan_or_policy, DepthPolicy)
        policies = [plan_or_policy] * self.batch if single else list(plan_or_policy)
        if len(policies) != self.batch:
            raise ValueError(f"{len(policies)} policies for {self.batch} sequences")
        constant = [policy.constant_plan(self.num_layers) for policy in policies]
        plans = [plan for plan in constant if plan is not None]
        if len(plans) == self.batch:
            return self._planned(tokens, plans, {}, observer, head)
        # A decision may rest on the token before, so that several tokens go one after the other.
        results = [
            self._decided(tokens[:, t : t + 1], policies, observer, head) for t in range(tokens.shape[1])
        ]
        if len(results) == 1:
            return results[0]
        return StepResult(
            torch.cat([result.logits for result in results], dim=1),
            np.concatenate([result.layers_run for result in results], axis=1),
            tuple(
                tuple(flags for result in results for flags in result.flags[sequence])
                for sequence in range(self.batch)
            ),
        )

    def begin_draft(self) -> None:
        """What is appended from now on is a draft, which ``verify`` will run over from its beginning.

        Where depth differs from token to token, a step may take an older position to full depth and leave
        out what it predicts. Until the next draft begins, the last hidden state of every exact position of
        the draft is therefore kept, D numbers each, and ``verify`` runs nothing but the head for it.
        """
        for sequence in range(self.batch):
            self.cache.begin_draft(sequence)

    @torch.inference_mode()
    def verify(
        self,
        tokens: Tensor,
        observer: Observer | None = None,
        first: int | Sequence[int] | None = None,
    ) -> StepResult:
        """Full depth over every position from the first that is not exact, resuming where each still was.

        Args:
            tokens: [B, T] int64: the ids from ``first`` on. Those already held must be the same; the rest
                is appended.
            observer: told what these positions run, sub-layer by sub-layer; one that resumes is not heard of
                below where it does.
            first: the position to begin with, of all sequences or of each; None is ``exact_lengths``. Earlier
                ones are predicted after too: by the head alone where they belong to a draft
                (``begin_draft``), else they run once more.

        Returns:
            logits for each of ``tokens``; ``layers_run`` is L for all of them.

        Raises:
            ValueError: the ids differ from those held, or leave some out, or T differs between sequences; or
                ``first`` is not in 0..``exact_lengths``.
        """
        self._check_tokens(tokens)
        count = tokens.shape[1]
        first = self._firsts(first)
        given = tokens.tolist()
        for sequence, ids in enumerate(given):
            held = self._tokens[sequence][first[sequence] :]
            if ids[: len(held)] != held:
                raise ValueError(f"verify of sequence {sequence}: expected the ids {held} first, got {ids}")
        self.stack.agreement.step(tokens, first, ())
        for sequence, ids in enumerate(given):
            further = ids[self.lengths[sequence] - first[sequence] :]
            self.cache.append(sequence, len(further))
            self._tokens[sequence].extend(further)
        hidden = self.stack.embed(tokens.reshape(-1))
        starts = np.zeros(len(hidden), dtype=np.int64)
        kept: dict[int, Tensor] = {}
        for row in range(len(hidden)):
            sequence, place = divmod(row, count)
            position = first[sequence] + place
            resume = self.cache.resume.get((sequence, position))
            if resume is not None:
                kept[row], starts[row] = resume, self.cache.frontier[sequence, position]
        if kept:
            rows = torch.tensor(list(kept), device=self.stack.device)
            hidden = hidden.index_copy(0, rows, torch.stack(list(kept.values())))
        request = StepRequest(
            self.cache,
            hidden,
            [self._full] * self.batch,
            starts=starts if kept else None,
            verifies=True,
            observer=observer,
            tally=self.tally,
        )
        return self._result(self._take_step(request), first)

    def resumable_layers(self, first: int, sequence: int = 0) -> float:
        """Layers that ``verify`` from position ``first`` on need not run again for what is held."""
        cache, layers = self.cache, 0.0
        for position in range(first, self.lengths[sequence]):
            if (sequence, position) in cache.resume:
                whole, half = divmod(int(cache.frontier[sequence, position]), 2)
                layers += whole + (float(self._share[2 * whole]) if half else 0.0)
        return layers

    def truncate(self, length: int | Sequence[int]) -> None:
        """Forget every position from ``length`` on, for all sequences or each its own.

        Raises:
            ValueError: a length outside 0..current.
        """
        lengths = [length] * self.batch if isinstance(length, int) else list(length)
        for sequence, (wanted, held) in enumerate(zip(lengths, self.lengths, strict=True)):
            if not 0 <= wanted <= held:
                raise ValueError(f"cannot truncate sequence {sequence} of length {held} to {wanted}")
        for sequence, wanted in enumerate(lengths):
            self.cache.truncate(sequence, wanted)
            del self._tokens[sequence][wanted:]

    def previous_logits(self, sequence: int = 0) -> Tensor:
        """[V] predicted after the last position held.

        Raises:
            ValueError: the last step did not predict there (the session was cut further back).
        """
        known = self._predictions[sequence]
        if known is not None:
            index = self.lengths[sequence] - 1 - known[0]
            if 0 <= index < known[1].shape[0]:
                return known[1][index]
        raise ValueError(f"no prediction is known after position {self.lengths[sequence] - 1}")

    # -- within -------------------------------------------------------------------------------------

    def _check_tokens(self, tokens: Tensor) -> None:
        if tokens.ndim != 2 or tokens.shape[0] != self.batch or tokens.shape[1] < 1:
            raise ValueError(f"tokens must be [{self.batch}, T >= 1], got {tuple(tokens.shape)}")

    def _firsts(self, first: int | Sequence[int] | None) -> list[int]:
        """Where ``verify`` begins in each sequence."""
        exact = list(self.exact_lengths)
        if first is None:
            return exact
        firsts = [first] * self.batch if isinstance(first, int) else list(first)
        if len(firsts) != self.batch:
            raise ValueError(f"{len(firsts)} first positions for {self.batch} sequences")
        for sequence, (begin, end) in enumerate(zip(firsts, exact, strict=True)):
            if not 0 <= begin <= end:
                raise ValueError(
                    f"verify of sequence {sequence}: it cannot begin at position {begin}, only up to {end}, "
                    "the first that is not exact"
                )
        return firsts

    def _planned(
        self,
        tokens: Tensor,
        plans: Sequence[DepthPlan],
        policies: dict[int, DepthPolicy],
        observer: Observer | None,
        head: PartialHead | None,
    ) -> StepResult:
        first = self.lengths
        return self._result(self._step(tokens, plans, policies, observer=observer, head=head), first)

    def _decided(
        self,
        tokens: Tensor,
        policies: Sequence[DepthPolicy],
        observer: Observer | None,
        head: PartialHead | None,
    ) -> StepResult:
        plans = [
            policy.plan(
                StepContext(
                    self.num_layers,
                    self.lengths[sequence],
                    self.prompt_lengths[sequence],
                    self.previous_logits(sequence),
                    self.prompt_perplexity[sequence],
                )
            )
            for sequence, policy in enumerate(policies)
        ]
        return self._planned(tokens, plans, dict(enumerate(policies)), observer, head)

    def _step(
        self,
        tokens: Tensor,
        plans: Sequence[DepthPlan],
        policies: dict[int, DepthPolicy],
        last_only: bool = False,
        observer: Observer | None = None,
        head: PartialHead | None = None,
    ) -> StepOutcome:
        for plan in plans:
            check_plan(plan, self.num_layers)
        plans = self.stack.agreement.step(tokens, self.lengths, plans)
        for sequence, ids in enumerate(tokens.tolist()):
            self.cache.append(sequence, len(ids))
            self._tokens[sequence].extend(ids)
        hidden = self.stack.embed(tokens.reshape(-1))
        return self._take_step(
            StepRequest(
                self.cache,
                hidden,
                plans,
                policies,
                last_only=last_only,
                observer=observer,
                head=head,
                tally=self.tally,
            )
        )

    def _result(self, outcome: StepOutcome, first: Sequence[int]) -> StepResult:
        count = outcome.hidden.shape[0] // self.batch
        if self.batch == 1:
            logits = outcome.logits[None]
            self._predictions[0] = (first[0], outcome.logits)
        else:
            logits = outcome.logits.view(self.batch, count, -1)
            for sequence in range(self.batch):
                self._predictions[sequence] = (first[sequence], logits[sequence])
        layers_run = np.array([[self._layers_run(run)] * count for run in outcome.runs])
        return StepResult(logits, layers_run, tuple((run,) * count for run in outcome.runs))

    def _layers_run(self, run: tuple[bool, ...]) -> float:
        """2L flags to layers; the few different ones of a generation are each summed up once."""
        if run not in self._depths:
            # Each layer is summed first, so that whole layers count exactly 1.
            parts = np.where(run, self._share, 0.0)
            self._depths[run] = float((parts[0::2] + parts[1::2]).sum())
        return self._depths[run]


def _layer_shares(stack: DecoderStack) -> npt.NDArray[np.float64]:
    """[2L] what each sub-layer counts as a part of its layer, by the bytes of weights a token reads."""
    weights = np.array(stack.sublayer_bytes, dtype=np.float64).reshape(-1, 2)
    attention = weights[:, 0] / weights.sum(axis=1)
    return np.stack([attention, 1 - attention], axis=1).reshape(-1)
