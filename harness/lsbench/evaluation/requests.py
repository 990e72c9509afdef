"""Every request that a run makes of a model, from lm-eval's tasks, tokenised and ready for a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

from lsbench.errors import BadInput
from lsbench.evaluation.isolation import isolated
from lsbench.evaluation.own_data import TASK as OWN_DATA
from lsbench.evaluation.own_data import remarks
from lsbench.evaluation.tasks import data_environment, is_ours, load_tasks
from lsbench.spec import (
    GenerateRequest,
    Request,
    RunSpec,
    ScoreRequest,
    ScoreWindow,
    arguments_hash,
    request_seed,
)

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import Task
    from transformers import PreTrainedTokenizerBase

    from lsbench.evaluation.generation import Generation
    from lsbench.evaluation.tokens import RequestEncoder

Kind = Literal["generate", "score"]


@dataclass(frozen=True)
class TaskInfo:
    """What a report must know of a task before it is scored."""

    name: str
    kinds: frozenset[Kind]
    """Which kinds of request it makes."""
    num_docs: int
    """Documents asked, after ``limit``."""
    metrics: tuple[str, ...]
    """The metrics the task declares, named as they are reported; scoring may add others."""
    higher_is_better: dict[str, bool]
    unsafe_code: bool
    """Whether scoring runs generated programs, and so needs a sandbox."""
    version: str


@dataclass(frozen=True)
class RequestSet:
    """All requests of a run, in the order of its tasks, documents, answer choices and repeats."""

    requests: tuple[Request, ...]
    tasks: tuple[TaskInfo, ...]
    notes: tuple[str, ...]
    """What a reader of the results must know: clashes, limits that were cut, repeats that do not count."""

    @cached_property
    def generations(self) -> tuple[GenerateRequest, ...]:
        """Those that generate."""
        return tuple(request for request in self.requests if isinstance(request, GenerateRequest))

    @property
    def typical(self) -> GenerateRequest | None:
        """The generation whose prompt is of median length; None when nothing is generated."""
        by_length = sorted(self.generations, key=lambda request: len(request.prompt_tokens))
        return by_length[len(by_length) // 2] if by_length else None

    def data_hashes(self) -> dict[str, str]:
        """For each task, a SHA-256 over the arguments of all its requests, in order."""
        hashes = {task.name: hashlib.sha256() for task in self.tasks}
        for request in self.requests:
            hashes[request.task].update(request.arguments_sha256.encode())
        return {name: digest.hexdigest() for name, digest in hashes.items()}


def build_requests(
    spec: RunSpec,
    tokenizer: PreTrainedTokenizerBase,
    context_length: int,
    eos_token_ids: tuple[int, ...],
) -> RequestSet:
    """Every request of every task, tokenised as lm-eval's ``hf`` model does.

    Args:
        spec: what was asked.
        tokenizer: the model's.
        context_length: how many tokens the model can attend to.
        eos_token_ids: every end-of-sequence id of the model.

    Raises:
        BadInput: an unknown or unsuitable task, a chat template asked of a tokenizer that has none, a
            generation argument that cannot be honoured, or a prompt too long for the context.
        Unavailable: a task's data cannot be fetched.
    """
    from lsbench.evaluation.tokens import RequestEncoder

    encoder = RequestEncoder(tokenizer, context_length)
    # hf stops at the tokenizer's own end-of-sequence token too, as a stop string.
    eos: Any = tokenizer.eos_token_id
    eos_token_ids = tuple(dict.fromkeys([*eos_token_ids, *([] if eos is None else [eos])]))
    requests: list[Request] = []
    infos: list[TaskInfo] = []
    notes: dict[str, None] = {}
    with isolated(data_environment(spec)):
        for name, task in load_tasks(spec).items():
            instances = task_instances(task, spec, encoder)
            writer = _Writer(name, spec, encoder, eos_token_ids)
            for instance in instances:
                requests.extend(writer.write(instance))
            infos.append(_info(name, task, instances))
            notes.update(dict.fromkeys([*writer.notes(), *_task_notes(name, task, spec)]))
    return RequestSet(tuple(requests), tuple(infos), tuple(notes))


def task_instances(task: Task, spec: RunSpec, encoder: RequestEncoder | None) -> list[Instance]:
    """lm-eval's own instances of a loaded task, over every document within the limit.

    Scoring builds them a second time and must get the same ones, so both go through here.

    Raises:
        BadInput: a chat template is asked for but the tokenizer has none, or is not at hand; or the task
            cannot make its prompts (more few-shot examples than it has, say).
    """
    chat = spec.apply_chat_template
    if chat and encoder is None:
        raise BadInput("Scoring a run made with --apply-chat-template needs the model's tokenizer.")
    if chat and encoder is not None and encoder.tokenizer.chat_template is None:
        raise BadInput("--apply-chat-template: this model's tokenizer has no chat template; leave it out.")
    try:
        task.build_all_requests(
            limit=spec.limit,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            chat_template=encoder.apply_chat_template if chat and encoder is not None else None,
        )
    except Exception as error:  # a task's own templates and functions may raise anything
        examples = task.get_config("num_fewshot")
        raise BadInput(
            f"Task {task.get_config('task')!r} cannot make its prompts"
            + (f" with {examples} few-shot examples" if examples else "")
            + f": {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    return list(task.instances)


class _Writer:
    """Turns the instances of one task into requests."""

    def __init__(
        self, task: str, spec: RunSpec, encoder: RequestEncoder, eos_token_ids: tuple[int, ...]
    ) -> None:
        self.task = task
        self.spec = spec
        self.encoder = encoder
        self.eos_token_ids = eos_token_ids
        self._read: dict[str, Generation] = {}
        self._notes: dict[str, None] = {}
        self._cut = 0

    def notes(self) -> Iterator[str]:
        yield from self._notes
        if self._cut:
            yield (
                f"Task {self.task!r}: {self._cut} prompt(s) leave less room in the model's context of "
                f"{self.encoder.context_length} tokens than the task asks for; their output is cut there."
            )

    def write(self, instance: Instance) -> Iterator[Request]:
        if instance.request_type == "generate_until":
            yield from self._generations(instance)
        else:
            yield self._score(instance)

    def _generations(self, instance: Instance) -> Iterator[GenerateRequest]:
        prompt, arguments = cast("tuple[str, dict[str, Any]]", instance.args)
        wanted = self._wanted(arguments)
        self._notes.update(dict.fromkeys(wanted.notes))
        tokens = self.encoder.prompt(prompt)
        for repeat in range(instance.repeats or 1):
            yield GenerateRequest(
                task=self.task,
                doc_id=document_of(instance),
                idx=instance.idx,
                repeat=repeat,
                arguments_sha256=arguments_hash(instance.args),
                prompt=prompt,
                prompt_tokens=tokens,
                max_new_tokens=self._room(instance, len(tokens), wanted, count=repeat == 0),
                stop_strings=wanted.stop_strings,
                stop_token_ids=wanted.stop_token_ids,
                sampling=wanted.sampling,
                seed=request_seed(self.spec.seed, self.task, document_of(instance), repeat),
            )

    def _wanted(self, arguments: dict[str, Any]) -> Generation:
        """Read once for all the prompts that share their arguments, which is nearly always all of them."""
        from lsbench.evaluation.generation import read_generation

        key = arguments_hash(arguments)
        if key not in self._read:
            self._read[key] = read_generation(
                self.task, arguments, self.spec, self.encoder.tokenizer, self.eos_token_ids
            )
        return self._read[key]

    def _room(self, instance: Instance, prompt: int, wanted: Generation, count: bool) -> int:
        """New tokens this prompt may have, at least one."""
        context = self.encoder.context_length
        if prompt >= context:
            raise BadInput(
                f"Task {self.task!r}, document {instance.doc_id}: the prompt has {prompt} tokens and the "
                f"model's context holds {context}, which leaves no room for a new one; use a model with a "
                "longer context, or fewer few-shot examples."
            )
        asked = wanted.max_new_tokens
        if asked is None:
            asked = (wanted.max_length or 0) - prompt
        if asked < 1:
            raise BadInput(
                f"Task {self.task!r}, document {instance.doc_id}: with a prompt of {prompt} tokens the task "
                f"allows {asked} new ones; set --max-new-tokens."
            )
        if count and asked > context - prompt:
            self._cut += 1
        return min(asked, context - prompt)

    def _score(self, instance: Instance) -> ScoreRequest:
        rolling = instance.request_type == "loglikelihood_rolling"
        try:
            windows = self.encoder.windows(instance) if rolling else (self.encoder.window(instance),)
        except ValueError as error:
            raise BadInput(f"Task {self.task!r}, document {instance.doc_id}: {error}.") from error
        self._check_lengths(instance, windows)
        return ScoreRequest(
            task=self.task,
            doc_id=document_of(instance),
            idx=instance.idx,
            arguments_sha256=arguments_hash(instance.args),
            prompt="" if rolling else instance.args[0],
            target=instance.args[-1],
            windows=windows,
            rolling=rolling,
        )

    def _check_lengths(self, instance: Instance, windows: Sequence[ScoreWindow]) -> None:
        """The last token of a window is only predicted, never read, and so needs no room."""
        for window in windows:
            read = len(window.context) + len(window.continuation) - 1
            if read > self.encoder.context_length:
                raise BadInput(
                    f"Task {self.task!r}, document {instance.doc_id}: the prompt has {len(window.context)} "
                    f"tokens and the text to score {len(window.continuation)}, but the model's context holds "
                    f"{self.encoder.context_length}; use a model with a longer context, or fewer few-shot "
                    "examples."
                )


def document_of(instance: Instance) -> int:
    """Which document of its task an instance belongs to."""
    assert instance.doc_id is not None
    return instance.doc_id


def task_metrics(task: Task) -> tuple[dict[str, bool], dict[str, Callable[[list[Any]], float]]]:
    """For each metric the task declares: whether higher is better, and how documents' values become one."""
    higher: Any = task.higher_is_better()
    aggregations: Any = task.aggregation()
    return {metric: bool(better) for metric, better in higher.items()}, dict(aggregations)


def _info(name: str, task: Task, instances: Sequence[Instance]) -> TaskInfo:
    higher, aggregations = task_metrics(task)
    return TaskInfo(
        name=name,
        kinds=frozenset("generate" if i.request_type == "generate_until" else "score" for i in instances),
        num_docs=len({instance.doc_id for instance in instances}),
        metrics=tuple(aggregations),
        higher_is_better=higher,
        unsafe_code=bool(getattr(task, "UNSAFE_CODE", False)),
        version=str(task.VERSION),
    )


def _task_notes(name: str, task: Task, spec: RunSpec) -> Iterator[str]:
    from lm_eval.filters.selection import TakeFirstFilter

    if name == OWN_DATA and is_ours(task):
        yield from remarks(spec, task)
    if spec.num_fewshot and task.get_config("num_fewshot") != spec.num_fewshot:
        yield (
            f"Task {name!r} allows no few-shot examples; --num-fewshot {spec.num_fewshot} is not applied "
            "to it."
        )
    repeats, filters = task.get_config("repeats") or 1, getattr(task, "_filters", [])
    takes_first = [any(part.func is TakeFirstFilter for part in chain.filters) for chain in filters]
    if repeats > 1 and takes_first and all(takes_first):
        yield f"Task {name!r} scores only the first of its {repeats} repeats (its filter keeps no other)."
