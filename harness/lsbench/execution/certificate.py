"""Whether a strategy that samples draws from the full model's own distribution: what a run looks at.

Two looks at a request, both untimed. What they compare with is computed by transformers' own code, so that a
fault of the engine or of a strategy can neither hide in it nor pass for noise.

- *Places.* Every token of the strategy's own output, the very ones that were timed, has a place in the full
  model's distribution there: the mass of all tokens with smaller ids, and a part of its own mass drawn at
  random. If the claim holds, places are uniform on [0, 1) and independent of each other, whatever the tokens
  before them (Rosenblatt, "Remarks on a Multivariate Transformation", 1952; for discrete distributions
  Brockwell, "Universal Residuals: A Multivariate Transformation", 2007). Tokens go by id because drafts err
  towards frequent ones, which most vocabularies number first: on the embedded model that took a third to a
  tenth of the tokens that going by probability takes, to find a subtly wrong acceptance rule.
- *Draws.* From one spot within the baseline's output the strategy goes on again and again, a seed each.
  Wherever enough of these draws have come to the same tokens, what they took next is counted against the
  exact probabilities. With many draws at one spot, deviations that differ from spot to spot do not even out;
  so few spots and many draws find more than the same number spread thin.

``measurement/certificate.py`` makes a chi-square test of each.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from lsbench.engine import DecoderStack, probabilities
from lsbench.engine.precise import continuation_logits, plain_logits
from lsbench.engine.prefill_copies import PrefillCopies
from lsbench.execution.generation import generate
from lsbench.records import SampleRecord
from lsbench.spec import GenerateRequest, Sampling, request_seed
from lsbench.strategy import Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPOTS = 3
"""Where each strategy draws again and again, at most: one in a request, in the run's first requests."""
DRAWS = 128
"""At each spot; half as many of a strategy that brings a loop of its own and reads the prompt each time."""
DRAWN_TOKENS = 4
"""The prefill's, two that may be drafted and one that follows: after those, most draws have parted."""
LEAST_EXPECTED = 5.0
"""Tokens expected more rarely than this are counted together, as the test's approximation needs."""
_LEAST_TESTABLE = 0.1
"""Where a spot's distribution is all but certain, drawing from it proves nothing."""
_ROWS = 128
"""Distributions held at once, [rows, V]."""

Cells = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Look:
    """What was seen of one request; ``SampleRecord`` says what each field means."""

    places: tuple[float, ...]
    prefix_tokens: int | None = None
    draws: int | None = None
    cells: tuple[Cells, ...] | None = None


class Certifier:
    """Looks at sampled outputs of strategies that claim to be lossless.

    Args:
        stack: the model.
        tokenizer: its tokenizer.
    """

    def __init__(self, stack: DecoderStack, tokenizer: PreTrainedTokenizerBase) -> None:
        self._stack = stack
        self._tokenizer = tokenizer
        self._spots: defaultdict[str, int] = defaultdict(int)
        """How many spots each strategy has drawn at."""

    def remember(self, record: SampleRecord) -> None:
        """Take a finished look, from an earlier process of the run too: no spot is drawn at twice."""
        if record.kind == "certificate" and record.draws:
            self._spots[record.label] += 1

    def look(
        self,
        label: str,
        strategy: Strategy,
        request: GenerateRequest,
        baseline: Sequence[int],
        output: Sequence[int],
    ) -> Look:
        """Look at one request.

        Args:
            label: of the strategy.
            strategy: prepared.
            request: what both continued, by sampling.
            baseline: ids of the baseline's output.
            output: ids of the strategy's.

        Raises:
            BrokenStrategy: it breaks its contract when it draws again.
        """
        seen = tuple(places(self._stack, request, output))
        if self._spots[label] >= SPOTS:
            return Look(seen)
        spot = testable_spot(self._stack, request, baseline)
        if spot is None:
            return Look(seen)
        again = request.model_copy(
            update={
                "prompt_tokens": (*request.prompt_tokens, *baseline[:spot]),
                "max_new_tokens": DRAWN_TOKENS,
                "stop_strings": (),
            }
        )
        draws = DRAWS if strategy.batching() == "steps" else DRAWS // 2
        drawn = self._draw(strategy, again, draws)
        return Look(seen, spot, draws, count_cells(self._stack, again, drawn))

    def _draw(self, strategy: Strategy, request: GenerateRequest, draws: int) -> list[tuple[int, ...]]:
        sessions = PrefillCopies(self._stack)
        seeds = (request_seed(request.seed, "draw", 0, number) for number in range(draws))
        seeded = (request.model_copy(update={"seed": seed}) for seed in seeds)
        return [generate(self._stack, self._tokenizer, strategy, each, sessions).token_ids for each in seeded]


def places(stack: DecoderStack, request: GenerateRequest, output: Sequence[int]) -> list[float]:
    """Where each token of a sampled output stands in the full model's distribution, 0 to 1.

    A token that the full model would never draw stands at 1.
    """
    found: list[float] = []
    # Which part of its own mass a token is put at depends on the request alone.
    part = random.Random(request.seed)
    for begin, logits in _rows(stack, request, output):
        distribution = _distribution(logits, request.sampling)
        tokens = torch.tensor(output[begin : begin + len(logits)], device=logits.device)[:, None]
        own = _listed(distribution.gather(1, tokens)[:, 0])
        up_to = _listed(distribution.cumsum(1).gather(1, tokens)[:, 0])
        for mass, end in zip(own, up_to, strict=True):
            inner = part.random()
            place = end - mass * inner if mass > 0 else 1.0
            found.append(round(min(max(place, 0.0), 1.0), 6))
    return found


def testable_spot(stack: DecoderStack, request: GenerateRequest, baseline: Sequence[int]) -> int | None:
    """After how many tokens of the baseline's output repeated draws tell most; None where they tell nothing.

    The token at the spot comes from the prefill and should be the same in most draws, so that they meet the
    next one, the first that a strategy may draft, after the same tokens; and of that one the likely tokens
    should be many. What a strategy draws there does not depend on the choice.
    """
    room = stack.context_length - len(request.prompt_tokens) - DRAWN_TOKENS
    chosen: list[float] = []
    testable: list[float] = []
    for begin, logits in _rows(stack, request, baseline):
        distribution = _distribution(logits, request.sampling)
        tokens = torch.tensor(baseline[begin : begin + len(logits)], device=logits.device)[:, None]
        chosen += _listed(distribution.gather(1, tokens)[:, 0])
        likely = torch.topk(
            distribution, min(int(DRAWS / LEAST_EXPECTED), distribution.shape[1]), dim=1
        ).values
        likely = torch.where(likely * DRAWS >= LEAST_EXPECTED, likely, 0.0)
        testable += _listed((likely * (1 - likely)).sum(1))
    worth = [same * spread for same, spread in zip(chosen, testable[1:], strict=False)][: max(0, room + 1)]
    if not worth or max(worth) < _LEAST_TESTABLE:
        return None
    return worth.index(max(worth))


def count_cells(
    stack: DecoderStack, request: GenerateRequest, drawn: Sequence[Sequence[int]]
) -> tuple[Cells, ...]:
    """Wherever enough draws came to the same tokens: how often each next one was seen, and is expected.

    Args:
        stack: the model.
        request: what all of them continued.
        drawn: ids of each.
    """
    found: list[Cells] = []
    for length in range(DRAWN_TOKENS):
        following: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for tokens in drawn:
            if len(tokens) > length:
                following[tuple(tokens[:length])][tokens[length]] += 1
        for path, seen in following.items():
            if seen.total() >= 2 * LEAST_EXPECTED:
                logits = plain_logits(stack.model, (*request.prompt_tokens, *path))
                cells = _cells(seen, _distribution(logits, request.sampling))
                if cells:
                    found.append(cells)
    return tuple(found)


def _cells(seen: Counter[int], distribution: Tensor) -> Cells:
    """Tokens expected often enough, then all others together; nothing where that is a single cell."""
    count = seen.total()
    expected = distribution * count
    often = [int(token) for token in (expected >= LEAST_EXPECTED).nonzero()[:, 0]]
    cells = sorted(((seen[token], float(expected[token])) for token in often), key=lambda cell: -cell[1])
    rest = (count - sum(cell[0] for cell in cells), count - sum(cell[1] for cell in cells))
    if rest[1] >= LEAST_EXPECTED:
        cells.append(rest)
    elif cells:
        cells[-1] = (cells[-1][0] + rest[0], cells[-1][1] + rest[1])
    return tuple(cells) if len(cells) > 1 else ()


def _rows(
    stack: DecoderStack, request: GenerateRequest, output: Sequence[int]
) -> Iterator[tuple[int, Tensor]]:
    """Where each part of the output begins, and the full model's logits [n, V] for it."""
    begin = 0
    for logits in continuation_logits(stack.model, request.prompt_tokens, output, _ROWS):
        yield begin, logits
        begin += len(logits)


def _distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    return probabilities(logits, sampling).double()


def _listed(values: Tensor) -> list[float]:
    # torch gives ``tolist`` no element type.
    return cast("list[float]", values.tolist())
