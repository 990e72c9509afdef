"""One copy of the model and everyone who decodes with it: requests in, records out.

The baseline and every strategy take the same requests one after the other, in an order that alternates
from turn to turn, so that a drift of the machine's speed falls on both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from lsbench.engine import Sampler, Session
from lsbench.engine.agreement import Disagreement
from lsbench.engine.batch import Batch
from lsbench.engine.graphs import about_graphs
from lsbench.errors import BadInput, CannotRun, LsbenchError
from lsbench.execution.bandwidth import bandwidth_behind
from lsbench.execution.certificate import Certifier, Look
from lsbench.execution.costs import measure_costs
from lsbench.execution.generation import BrokenStrategy, generate
from lsbench.execution.lines import Kind, key_of, line_of, reason
from lsbench.execution.loop_times import loop_times
from lsbench.execution.outlook import outlooks
from lsbench.execution.pieces import token_texts
from lsbench.execution.recheck import Comparison, compare
from lsbench.execution.step_widths import StepWidths
from lsbench.execution.together import generate_together
from lsbench.execution.turns import Turn, turns
from lsbench.records import Bandwidth, LoopTimes, Outlook, RecordKey, SampleRecord, StepCost
from lsbench.spec import GenerateRequest, Request, ScoreRequest, ScoreWindow, StrategyChoice
from lsbench.strategy import Preparation, Scored, Strategy
from lsbench.strategy.calibration import CALIBRATION_TEXTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack

_WARMUP_TOKENS = 16
_MOST_LIKELY = 1e-4
"""A log-probability is at most 0, give or take the rounding of a reduced precision."""


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
        batch_size: the most generations that decode together.
        replica: which copy of the model this is, counted from 0.
    """

    def __init__(
        self,
        stack: DecoderStack,
        tokenizer: PreTrainedTokenizerBase,
        baseline: Contender,
        others: Sequence[Contender],
        segment: int = 0,
        batch_size: int = 1,
        replica: int = 0,
    ) -> None:
        self._stack = stack
        self._batch_size = batch_size
        self._tokenizer = tokenizer
        self._baseline = baseline
        self._contenders = (baseline, *others)
        self._segment = segment
        self._replica = replica
        self._compared = {baseline.label, *(other.label for other in others if other.strategy.lossless)}
        """Whose outputs are compared token by token."""
        self._outputs: dict[RecordKey, tuple[int, ...]] = {}
        self._certifier = Certifier(stack, tokenizer)
        self._widths = StepWidths(stack.num_layers)
        self._own_loops: set[str] = set()
        """Who does not tell what a token runs."""
        self._prepared: set[str] = set()
        self.unavailable: dict[str, str] = {}
        """Who cannot run on this model or machine, by label, and why; known when all are prepared."""

    def with_others(self, others: Sequence[Contender]) -> Worker:
        """The same model and baseline beside others, which are to be prepared; nothing is loaded again."""
        worker = Worker(
            self._stack,
            self._tokenizer,
            self._baseline,
            others,
            self._segment,
            self._batch_size,
            self._replica,
        )
        worker.__dict__["preparation"] = self.preparation
        worker._prepared = self._prepared & {self._baseline.label}
        return worker

    @property
    def stack(self) -> DecoderStack:
        """The model."""
        return self._stack

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        return self._tokenizer

    @cached_property
    def preparation(self) -> Preparation:
        """What strategies calibrate on: the model, and prompts that no task evaluates."""
        prompts = tuple(tuple(self._tokenizer(text)["input_ids"]) for text in CALIBRATION_TEXTS)
        return Preparation(self._stack, prompts)

    def prepare(self) -> None:
        """Let every strategy calibrate that has not; one that cannot run here takes no part from then on.

        Raises:
            BadInput: naming the strategy that cannot calibrate, or the baseline that cannot run.
            Disagreement: it cannot on some of the ranks that share the model.
        """
        for contender in self._contenders:
            if contender.label in self._prepared:
                continue
            try:
                contender.strategy.prepare(self.preparation)
            except CannotRun as error:
                self._stack.agreement.failed(error)
                if contender is self._baseline:
                    raise
                self.unavailable[contender.label] = str(error)
                continue
            except LsbenchError:
                raise
            except Exception as error:
                self._stack.agreement.failed(error)
                raise BadInput(f"Strategy {contender.label} cannot calibrate: {reason(error)}") from error
            self._prepared.add(contender.label)
        self.leave_out(self.unavailable)

    def leave_out(self, labels: Collection[str]) -> None:
        """Let some take no part any more; the baseline stays."""
        self._contenders = (
            self._baseline,
            *(each for each in self._contenders[1:] if each.label not in labels),
        )

    def warm_up(self, requests: Sequence[GenerateRequest]) -> None:
        """Run and discard a few tokens of each request under everyone."""
        short = [
            request.model_copy(update={"max_new_tokens": min(_WARMUP_TOKENS, request.max_new_tokens)})
            for request in requests
        ]
        for turn in self.turns(short):
            for contender in self._contenders:
                for record in self._generations(contender, turn, [1] * len(turn.requests)):
                    # A strategy that fails here fails again where it counts.
                    self._widths.see(record)
                    if record.kind == "generate" and record.error is None and record.layers_run is None:
                        self._own_loops.add(contender.label)

    def costs(self, typical: GenerateRequest) -> tuple[StepCost, ...]:
        """What the parts of a step cost here, at the widths that those who warmed up use."""
        widths = self._widths.of(self._batch_size)
        return measure_costs(self._stack, typical.prompt_tokens, widths, typical.sampling)

    def bandwidth(self) -> Bandwidth | None:
        """What memory gives here; None for a model that caches hold."""
        return bandwidth_behind(self._stack)

    def loop_times(self, typical: GenerateRequest) -> tuple[LoopTimes, ...]:
        """What those who warmed up in loops of their own spend their time on; nothing of batches."""
        if self._batch_size > 1:
            return ()
        return tuple(
            found
            for contender in self._contenders
            if contender.label in self._own_loops and (found := self._loop_times(contender, typical))
        )

    def _loop_times(self, contender: Contender, typical: GenerateRequest) -> LoopTimes | None:
        try:
            return loop_times(self._stack, self._tokenizer, contender, typical)
        except Disagreement:
            raise
        except Exception as error:  # what is wrong with a strategy is told where it counts
            self._stack.agreement.failed(error)
            return None

    def outlooks(self) -> tuple[Outlook, ...]:
        """What can be foreseen of those beside the baseline; it only serves warnings, and so never fails."""
        try:
            return outlooks(self._stack, self.preparation.calibration_prompts, self._contenders[1:])
        except Disagreement:
            raise
        except Exception as error:  # what is wrong with a strategy is told where it counts
            self._stack.agreement.failed(error)
            return ()

    def remarks(self) -> list[str]:
        """What a reader of the results should know of how steps were run, in words."""
        return about_graphs(self._stack.native, self._stack.device)

    def remember(self, record: SampleRecord) -> None:
        """Take an output that is looked at later, or a look, from an earlier process of the run too."""
        self._certifier.remember(record)
        if record.label in self._compared and record.kind == "generate" and record.token_ids is not None:
            self._outputs[record.key] = record.token_ids

    def turns(self, requests: Sequence[Request]) -> list[Turn]:
        """Who runs with whom, in order."""
        return turns(requests, self._batch_size)

    def run(
        self, turn: Turn, finished: AbstractSet[RecordKey], attempts: Mapping[RecordKey, int]
    ) -> Iterator[SampleRecord]:
        """A turn's requests under everyone who has not finished them.

        Args:
            turn: what to run; odd ones take the contenders in reverse.
            finished: what need not be run again.
            attempts: the last failed attempt at a request, where there was one.

        Yields:
            a record for each contender and request, then the untimed fidelity of each strategy and, where it
            claims to be lossless, parity of greedy outputs or the look at sampled ones that certifies them.
            A failure is a record with an error.

        Raises:
            Disagreement: one of the ranks that share the model failed alone, or does something else.
        """
        order = self._contenders if turn.index % 2 == 0 else self._contenders[::-1]
        for contender in order:
            keys = [key_of(contender.label, request, request.kind) for request in turn.requests]
            left = [request for request, key in zip(turn.requests, keys, strict=True) if key not in finished]
            again = [attempts.get(key_of(contender.label, request, request.kind), 0) + 1 for request in left]
            for record in self._generations(contender, replace(turn, requests=tuple(left)), again):
                if record.token_ids:  # told when no clock counts it
                    texts = token_texts(self._tokenizer, record.token_ids)
                    record = record.model_copy(update={"token_texts": texts})
                self.remember(record)
                yield record
        for request in turn.requests:
            if not isinstance(request, GenerateRequest):
                continue
            if key_of(self._baseline.label, request, "generate") not in self._outputs:
                continue
            for contender in self._contenders[1:]:
                for kind in self._looks(contender, request):
                    key = key_of(contender.label, request, kind)
                    if key not in finished:
                        record = self._record(contender, request, kind, attempts.get(key, 0) + 1)
                        self.remember(record)
                        yield record

    def _generations(
        self, contender: Contender, turn: Turn, attempts: Sequence[int]
    ) -> Iterator[SampleRecord]:
        """What is timed, together where the turn is a batch; each record as soon as it is finished."""
        if turn.batch is None:
            for request, attempt in zip(turn.requests, attempts, strict=True):
                yield self._record(contender, request, request.kind, attempt)
            return
        in_steps = contender.strategy.batching() == "steps"
        together = self._in_shared_steps if in_steps else self._in_own_loop
        for record in together(contender, turn.requests, attempts):
            yield record.model_copy(update={"batch": turn.batch, "batch_size": turn.size})

    def _in_shared_steps(
        self, contender: Contender, requests: Sequence[Request], attempts: Sequence[int]
    ) -> Iterator[SampleRecord]:
        batch = Batch(self._stack)
        return batch.run(
            [
                partial(self._record, contender, request, request.kind, attempt, batch)
                for request, attempt in zip(requests, attempts, strict=True)
            ]
        )

    def _in_own_loop(
        self, contender: Contender, requests: Sequence[Request], attempts: Sequence[int]
    ) -> Iterator[SampleRecord]:
        generations = [request for request in requests if isinstance(request, GenerateRequest)]
        for place, made in generate_together(self._stack, self._tokenizer, contender.strategy, generations):
            line = self._line(contender, generations[place], "generate", attempts[place])
            yield self._failed(line, made) if isinstance(made, Exception) else line(**vars(made))

    def _looks(self, contender: Contender, request: GenerateRequest) -> Iterator[Kind]:
        """How a strategy's output is looked at beside the baseline's, which is there."""
        yield "fidelity"
        if key_of(contender.label, request, "generate") in self._outputs:
            yield "parity" if request.sampling.greedy else "certificate"

    def _record(
        self,
        contender: Contender,
        request: Request,
        kind: Kind,
        attempt: int,
        batch: Batch | None = None,
    ) -> SampleRecord:
        line = self._line(contender, request, kind, attempt)
        try:
            if isinstance(request, ScoreRequest):
                logprob, is_greedy = self._score(contender.strategy, request)
                return line(logprob=logprob, is_greedy=is_greedy)
            if kind == "fidelity":
                return line(agreement=self._agreement(contender.strategy, request))
            if kind == "parity":
                return line(**vars(self._comparison(contender, request)))
            if kind == "certificate":
                return line(**vars(self._look(contender, request)))
            return line(**vars(generate(self._stack, self._tokenizer, contender.strategy, request, batch)))
        except Exception as error:  # one request's failure is recorded, and the run goes on
            return self._failed(line, error)

    def _line(
        self, contender: Contender, request: Request, kind: Kind, attempt: int
    ) -> Callable[..., SampleRecord]:
        """A record of the request, but for what came of it."""
        return line_of(contender.choice, request, kind, attempt, self._segment, self._replica)

    def _failed(self, line: Callable[..., SampleRecord], error: Exception) -> SampleRecord:
        """A record of a failure, unless ranks that share the model do not all have it: these cannot go on."""
        if isinstance(error, Disagreement):
            raise error
        self._stack.agreement.failed(error)
        return line(error=reason(error))

    def _score(self, strategy: Strategy, request: ScoreRequest) -> tuple[float, bool]:
        """Log-likelihood of all windows together, and whether each of their tokens is the most likely one."""
        total, greedy = 0.0, True
        for window in request.windows:
            scored = self._scored(strategy, window)
            total += sum(scored.logprobs)
            greedy = greedy and tuple(scored.choices) == window.continuation
        return total, greedy

    def _agreement(self, strategy: Strategy, request: GenerateRequest) -> tuple[bool, ...]:
        output = self._outputs[key_of(self._baseline.label, request, "generate")]
        window = ScoreWindow(context=request.prompt_tokens, continuation=output)
        # With sampling, the strategy chooses with the very numbers the baseline drew with.
        sampler = (
            None
            if request.sampling.greedy
            else Sampler(request.sampling, request.seed, self._stack.agreement)
        )
        scored = self._scored(strategy, window, sampler)
        return tuple(chosen == token for chosen, token in zip(scored.choices, output, strict=True))

    def _comparison(self, contender: Contender, request: GenerateRequest) -> Comparison:
        return compare(self._stack, request.prompt_tokens, *self._both_outputs(contender, request))

    def _look(self, contender: Contender, request: GenerateRequest) -> Look:
        both = self._both_outputs(contender, request)
        return self._certifier.look(contender.label, contender.strategy, request, *both)

    def _both_outputs(
        self, contender: Contender, request: GenerateRequest
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The baseline's and the strategy's own."""
        first, second = (key_of(each.label, request, "generate") for each in (self._baseline, contender))
        return self._outputs[first], self._outputs[second]

    def _scored(self, strategy: Strategy, window: ScoreWindow, sampler: Sampler | None = None) -> Scored:
        session = Session(self._stack, capacity=len(window.context) + len(window.continuation))
        scored = strategy.score(session, window, sampler)
        wanted, values, choices = len(window.continuation), len(scored.logprobs), len(scored.choices)
        if values != wanted or choices != wanted:
            raise BrokenStrategy(f"gave {values} log-probabilities and {choices} choices for {wanted} tokens")
        strange = [value for value in scored.logprobs if not value <= _MOST_LIKELY]
        if strange:
            raise BrokenStrategy(f"gave a token the log-probability {strange[0]}")
        return scored
