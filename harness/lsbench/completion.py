"""One prompt continued under one strategy, for whoever watches: what ``lsbench generate`` does.

The rooms are joined as a run joins them (the same loop, sessions and records), without tasks, baseline or
store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from lsbench.errors import BadInput
from lsbench.spec import BASELINE, DEFAULT_MODEL, Dtype, Frozen, GenerateRequest, Sampling, StrategyChoice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack
    from lsbench.execution.account import Taken
    from lsbench.execution.worker import Contender
    from lsbench.records import SampleRecord
    from lsbench.report.answer_pace import Written
    from lsbench.view import Progress

TASK = "prompt"
"""What stands for a task in the record of a completion."""


class CompletionSpec(Frozen):
    """What was asked: the model, one strategy, and how to draw."""

    strategy: StrategyChoice = StrategyChoice(name=BASELINE)
    model: str = DEFAULT_MODEL
    revision: str | None = None
    dtype: Dtype = "auto"
    device: str = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] = 256
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 0
    apply_chat_template: bool = False

    @property
    def sampling(self) -> Sampling:
        """How the next token is drawn."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)


@dataclass(frozen=True)
class ChatTurn:
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    content: str


class Completer:
    """A model and a strategy that continue prompts; the weights are there from ``load`` on.

    Args:
        spec: what was asked.
        contender: the strategy, resolved.
        path: of the model, as transformers reads it.
    """

    def __init__(self, spec: CompletionSpec, contender: Contender, path: Path) -> None:
        from lsbench.engine.loading import load_tokenizer, model_facts

        self._spec = spec
        self._contender = contender
        self._path = path
        self._facts = model_facts(path)
        self._tokenizer: PreTrainedTokenizerBase = load_tokenizer(path)
        if spec.apply_chat_template and self._tokenizer.chat_template is None:
            raise BadInput(
                "This model's tokenizer has no chat template, which --apply-chat-template and --interactive "
                "need; leave them out, or use an instruction-tuned model"
            )
        self._stack: DecoderStack | None = None

    @property
    def num_layers(self) -> int:
        """L."""
        return self._facts.num_layers

    def request(self, turns: Sequence[ChatTurn]) -> GenerateRequest:
        """The request that continues a text, or with a chat template answers a conversation.

        Args:
            turns: one, whose content is the text, without a template.

        Raises:
            BadInput: there is no room in the model's context for a new token.
        """
        from lsbench.spec import arguments_hash

        prompt = self._templated(turns) if self._spec.apply_chat_template else turns[-1].content
        tokenizer: Any = self._tokenizer
        bos = tokenizer.bos_token
        special = {"add_special_tokens": False} if bos and prompt.startswith(bos) else {}
        tokens = tuple(tokenizer.encode(prompt, **special))
        room = self._facts.context_length - len(tokens)
        if not tokens or room < 1:
            raise BadInput(
                f"The prompt has {len(tokens)} tokens and the model's context holds "
                f"{self._facts.context_length}, which leaves no room for a new one; "
                "shorten it, or use a model with a longer context"
                if tokens
                else "The prompt makes no token of this model; write some text"
            )
        eos = tokenizer.eos_token_id
        return GenerateRequest(
            task=TASK,
            doc_id=0,
            arguments_sha256=arguments_hash([prompt]),
            prompt=prompt,
            prompt_tokens=tokens,
            max_new_tokens=min(self._spec.max_new_tokens, room),
            stop_token_ids=tuple(
                dict.fromkeys([*self._facts.eos_token_ids, *([] if eos is None else [eos])])
            ),
            sampling=self._spec.sampling,
            seed=self._spec.seed,
        )

    def load(self, view: Progress) -> None:
        """Read the weights and let the strategy calibrate.

        Raises:
            BadInput: the weights cannot be read, or the strategy cannot calibrate.
        """
        import torch

        from lsbench.engine.loading import load_stack, resolve_device, resolve_dtype, weight_type
        from lsbench.engine.native import products_for
        from lsbench.execution import collector
        from lsbench.execution.machine import use_threads
        from lsbench.execution.remarks import about_products, about_weights
        from lsbench.execution.worker import Worker

        spec = self._spec
        device = resolve_device(spec.device)
        dtype = resolve_dtype(spec.dtype, device)
        use_threads(spec.threads)
        products = products_for(weight_type(dtype), torch.device(device), view.stage)
        for text in (
            *about_weights(dtype, self._facts.has_experts),
            *about_products(products, device, dtype),
        ):
            view.note(text)
        view.stage(f"Loading {spec.model} in {dtype}")
        self._stack = load_stack(self._path, dtype, device)
        view.stage(f"Calibrating {self._contender.label}")
        Worker(self._stack, self._tokenizer, self._contender, ()).prepare()
        collector.settle()

    def complete(self, request: GenerateRequest, watch: Callable[[Written], None]) -> SampleRecord:
        """Continue a prompt in a session of its own, as a worker does.

        Args:
            request: made by ``request``.
            watch: is told of every token as it is out, while the clock stands still; what it raises ends the
                completion.

        Returns:
            the record that a run would keep.

        Raises:
            BrokenStrategy: the strategy broke its contract.
        """
        from lsbench.execution.generation import generate
        from lsbench.execution.lines import line_of
        from lsbench.execution.pieces import TextPieces
        from lsbench.report.answer_pace import Written

        assert self._stack is not None  # loaded before anything is asked of it
        pieces = TextPieces(self._tokenizer)

        def told(taken: Taken, seconds: float) -> None:
            emission = taken.emission
            for place, token in enumerate(emission.tokens[: taken.count]):
                ends = taken.ends and place + 1 == taken.count
                text = pieces.push(token) + (pieces.rest() if ends else "")
                layers = None if taken.depth is None else taken.depth[place]
                drafted = emission.drafted if place == 0 else None
                watch(Written(text, emission.kind, layers, seconds, drafted))

        made = generate(self._stack, self._tokenizer, self._contender.strategy, request, watch=told)
        return line_of(self._contender.choice, request, "generate", 1, 0)(**vars(made))

    def _templated(self, turns: Sequence[ChatTurn]) -> str:
        """The conversation as the model was taught to read it, up to where its answer begins."""
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        tokenizer: Any = self._tokenizer
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def check(spec: CompletionSpec) -> Contender:
    """Refuse what can be known to be wrong without a model; the strategy, its options checked.

    Raises:
        BadInput: unknown names, bad options, a device that is not there, an environment variable that says
            nothing.
    """
    from lsbench.catalog import check_model_name
    from lsbench.engine.loading import resolve_device
    from lsbench.engine.native.library import graphs_wanted
    from lsbench.execution.worker import Contender
    from lsbench.strategy.registry import resolve

    contender = Contender(spec.strategy, resolve(spec.strategy))
    check_model_name(spec.model)
    graphs_wanted()
    resolve_device(spec.device)
    return contender


def open_model(spec: CompletionSpec, contender: Contender, view: Progress) -> Completer:
    """Find the model, fetched where that is needed; no weights are loaded.

    Raises:
        BadInput: the strategy or the chat template does not fit the model.
        Unavailable: it must be fetched and cannot be.
    """
    from lsbench.catalog import resolve_model
    from lsbench.engine.loading import model_facts

    def check_against(model: Path) -> None:
        configured = model_facts(model)
        contender.strategy.check(configured.num_layers)
        contender.strategy.check_model(configured.model_type)

    source = resolve_model(spec.model, spec.revision, view, check_against)
    return Completer(spec, contender, source.path)
