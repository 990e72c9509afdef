"""One copy of the model and everyone who decodes with it: requests in, records out.

The baseline and every strategy take the same request one after the other, in an order that alternates
from request to request, so that a drift of the machine's speed falls on both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsbench.engine.sampling import Sampler
from lsbench.engine.session import Session
from lsbench.execution.generation import generate
from lsbench.records import RecordKey, SampleRecord
from lsbench.spec import GenerateRequest, Request, ScoreRequest, ScoreWindow, StrategyChoice
from lsbench.strategy import Preparation, Strategy
from lsbench.strategy.calibration import CALIBRATION_TEXTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack

_WARMUP_TOKENS = 16


@dataclass(frozen=True)
class Contender:
    """A strategy that takes part in a run, with the choice it was resolved from."""

    choice: StrategyChoice
    strategy: Strategy

    @property
    def label(self) -> str:
        """Unique within the run."""
        return self.choice.label


class Worker:
    """Runs requests.

    Args:
        stack: the model.
        tokenizer: its tokenizer.
        baseline: what every other is measured against.
        others: in the order they were asked for.
        segment: which process of the run this is, counted from 0.
    """

    def __init__(
        self,
        stack: DecoderStack,
        tokenizer: PreTrainedTokenizerBase,
        baseline: Contender,
        others: Sequence[Contender],
        segment: int = 0,
    ) -> None:
        self._stack = stack
        self._tokenizer = tokenizer
        self._baseline = baseline
        self._contenders = (baseline, *others)
        self._segment = segment
        self._outputs: dict[RecordKey, tuple[int, ...]] = {}

    def prepare(self) -> None:
        """Let every strategy calibrate, on prompts that no task evaluates."""
        prompts = tuple(tuple(self._tokenizer(text)["input_ids"]) for text in CALIBRATION_TEXTS)
        preparation = Preparation(self._stack, prompts)
        for contender in self._contenders:
            contender.strategy.prepare(preparation)

    def warm_up(self, requests: Sequence[GenerateRequest]) -> None:
        """Run and discard a few tokens of each request under everyone."""
        for request in requests:
            short = request.model_copy(update={"max_new_tokens": min(_WARMUP_TOKENS, request.max_new_tokens)})
            for contender in self._contenders:
                # A strategy that fails here fails again where it is recorded.
                _attempt(lambda c=contender, r=short: generate(self._stack, self._tokenizer, c.strategy, r))

    def remember(self, record: SampleRecord) -> None:
        """Take the baseline's output from an earlier process of the run, for fidelity."""
        if record.label == self._baseline.label and record.kind == "generate" and record.token_ids is not None:
            self._outputs[record.key] = record.token_ids

    def run(
        self, request: Request, turn: int, finished: AbstractSet[RecordKey], attempts: Mapping[RecordKey, int]
    ) -> Iterator[SampleRecord]:
        """One request under everyone who has not finished it.

        Args:
            request: what to run.
            turn: the request's place in the run; odd ones take the contenders in reverse.
            finished: what need not be run again.
            attempts: the last failed attempt at a request, where there was one.

        Yields:
            a record for each contender, then the untimed fidelity of each strategy. A failure is a
            record with an error.
        """
        order = self._contenders if turn % 2 == 0 else self._contenders[::-1]
        for contender in order:
            key = _key(contender, request, request.kind)
            if key not in finished:
                record = self._record(contender, request, request.kind, attempts.get(key, 0) + 1)
                self.remember(record)
                yield record
        if not isinstance(request, GenerateRequest):
            return
        if _key(self._baseline, request, "generate") not in self._outputs:
            return
        for contender in self._contenders[1:]:
            key = _key(contender, request, "fidelity")
            if key not in finished:
                yield self._record(contender, request, "fidelity", attempts.get(key, 0) + 1)

    def _record(self, contender: Contender, request: Request, kind: str, attempt: int) -> SampleRecord:
        common: dict[str, Any] = {
            "schema": 1,
            "strategy": contender.choice.name,
            "options": contender.choice.options,
            "label": contender.label,
            "task": request.task,
            "doc_id": request.doc_id,
            "idx": request.idx,
            "repeat": request.repeat,
            "kind": kind,
            "arguments_sha256": request.arguments_sha256,
            "prompt": request.prompt,
            "prompt_tokens": _prompt_length(request),
            "segment": self._segment,
            "attempt": attempt,
        }
        if isinstance(request, ScoreRequest):
            outcome, error = _attempt(lambda: self._score(contender.strategy, request))
        elif kind == "fidelity":
            outcome, error = _attempt(lambda: self._fidelity(contender.strategy, request))
        else:
            outcome, error = _attempt(lambda: self._generate(contender.strategy, request))
        return SampleRecord(**common, **(outcome or {}), error=error)

    def _generate(self, strategy: Strategy, request: GenerateRequest) -> dict[str, Any]:
        return vars(generate(self._stack, self._tokenizer, strategy, request))

    def _score(self, strategy: Strategy, request: ScoreRequest) -> dict[str, Any]:
        total, greedy = 0.0, True
        for window in request.windows:
            scored = strategy.score(self._session(window), window)
            total += sum(scored.logprobs)
            greedy = greedy and scored.choices == window.continuation
        return {"logprob": total, "is_greedy": greedy}

    def _fidelity(self, strategy: Strategy, request: GenerateRequest) -> dict[str, Any]:
        output = self._outputs[_key(self._baseline, request, "generate")]
        window = ScoreWindow(context=request.prompt_tokens, continuation=output)
        # With sampling, the strategy chooses with the very numbers the baseline drew with.
        sampler = None if request.sampling.greedy else Sampler(request.sampling, request.seed)
        scored = strategy.score(self._session(window), window, sampler)
        return {"agreement": tuple(a == b for a, b in zip(scored.choices, output, strict=True))}

    def _session(self, window: ScoreWindow) -> Session:
        return Session(self._stack, capacity=len(window.context) + len(window.continuation))


def _attempt(work: Callable[[], Any]) -> tuple[Any, str | None]:
    """What ``work`` gives, or why it failed: one request's failure is recorded and the run goes on."""
    try:
        return work(), None
    except Exception as error:
        return None, f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _key(contender: Contender, request: Request, kind: str) -> RecordKey:
    return RecordKey(contender.label, kind, request.task, request.doc_id, request.idx, request.repeat)


def _prompt_length(request: Request) -> int:
    if isinstance(request, GenerateRequest):
        return len(request.prompt_tokens)
    return sum(len(window.context) for window in request.windows)
