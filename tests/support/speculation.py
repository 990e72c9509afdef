"""What self-speculation is proven with: models under the engine and under transformers, drafts, requests."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from hypothesis import strategies as st

from lsbench.engine import DecoderStack
from lsbench.engine.batch import Batch
from lsbench.execution.generation import generate
from lsbench.spec import GenerateRequest, parse_strategy
from lsbench.strategy import Preparation, Strategy
from lsbench.strategy.registry import resolve
from support.requests import generate_request

FILLS = st.sampled_from(["recompute", "propagate", "mask"])
CONFIDENCES = (
    "softmax_max,draft.threshold=0.2",
    "softmax_margin,draft.threshold=0.1",
    "entropy,draft.threshold=0.4",
    "hidden_cosine,draft.threshold=0.9",
    "patience",
)


class Subject:
    """A model under the engine and, untouched, under transformers; and what both continue.

    Args:
        model: transformers' own, in float64.
        tokenizer: of as many tokens.
        prompts: to be continued.
        calibration: prompts for strategies to calibrate on.
        longest: tokens asked for at most.
        theirs: the same model for transformers to run, where its attention must be another.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompts: list[tuple[int, ...]],
        calibration: tuple[tuple[int, ...], ...],
        longest: int,
        theirs: Any = None,
    ) -> None:
        self.theirs = theirs or copy.deepcopy(model)
        self.stack = DecoderStack(model)
        self.layers = self.stack.num_layers
        self.tokenizer, self.prompts, self.longest = tokenizer, prompts, longest
        self._preparation = Preparation(self.stack, calibration)
        self.strategy = cache(self._strategy)
        self.reference = cache(self._reference)

    def _strategy(self, text: str) -> Strategy:
        strategy = resolve(parse_strategy(text))
        strategy.check(self.layers)
        strategy.prepare(self._preparation)
        return strategy

    def _reference(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        """Transformers' own ``generate``, greedily."""
        ids = torch.tensor([prompt], device=self.stack.device)
        output = self.theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=self.longest,
            pad_token_id=0,
        )
        return tuple(output[0, len(prompt) :].tolist())

    def text(self, tokens: tuple[int, ...]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def expected(self, request: GenerateRequest) -> tuple[int, ...]:
        """Transformers' tokens, up to the first after which a stop condition holds."""
        output = self.reference(request.prompt_tokens)
        for count in range(1, request.max_new_tokens + 1):
            text = self.text(output[:count])
            if output[count - 1] in request.stop_token_ids or any(s in text for s in request.stop_strings):
                return output[:count]
        return output[: request.max_new_tokens]


Case = tuple[Subject, str, GenerateRequest]


def drafts(layers: int) -> st.SearchStrategy[str]:
    """Every kind of draft, as ``self_speculative`` takes it."""
    static = st.builds(
        "draft=static_exit,draft.exit_layer={},draft.kv_fill={}".format, st.integers(1, layers), FILLS
    )
    skipping = st.builds(
        "draft=dynamic_skip,draft.max_skip_ratio={},draft.granularity={},draft.difficulty={},"
        "draft.kv_fill={}".format,
        st.sampled_from([0.3, 0.6]),
        st.sampled_from(["layer", "sublayer"]),
        st.sampled_from(["previous_entropy", "previous_margin", "prompt_perplexity"]),
        FILLS,
    )
    chosen = st.builds(
        "draft=dynamic_skip,draft.skip_set={},draft.thresholds=[{}],draft.kv_fill={}".format,
        st.sampled_from(["[2]", "[3,4]", "[1.attention]", f"[{layers}.attention,4.mlp]"]),
        st.sampled_from([0.4, 0.8]),
        FILLS,
    )
    online = st.builds(
        "draft={},draft.kv_fill={}".format,
        st.sampled_from(
            [
                "static_exit,draft.exit_layer=online",
                "dynamic_skip,draft.skip_set=online,draft.max_skip_ratio=0.5",
                "dynamic_skip,draft.skip_set=online,draft.thresholds=[2],draft.granularity=layer,"
                "draft.max_skip_ratio=0.4",
                "dynamic_skip,draft.skip_set=online,draft.difficulty=early_cosine",
            ]
        ),
        FILLS,
    )
    exiting = st.builds(
        "draft=dynamic_exit,draft.confidence={},draft.min_layer={},draft.kv_fill={}".format,
        st.sampled_from(CONFIDENCES),
        st.integers(1, layers - 2),
        FILLS,
    )
    return static | skipping | chosen | exiting | online | st.just("draft=autoregressive")


@st.composite
def cases(draw: st.DrawFn, subjects: st.SearchStrategy[Subject]) -> Case:
    """A model, a strategy, and a request whose stop strings, ends and limit fall anywhere in its output."""
    subject = draw(subjects)
    prompt = draw(st.sampled_from(subject.prompts))
    output = subject.reference(prompt)
    draft = draw(drafts(subject.layers))
    options = f"{draft},num_speculations={draw(st.integers(1, 8))}"
    options += draw(st.sampled_from(["", "", ",draft_stop=0.3", ",draft_stop=0.8"]))
    if "exit_layer=online" not in draft:
        options += draw(st.sampled_from(["", "", ",adaptive=true"]))
    text = subject.text(output).replace("\ufffd", "")
    stops: list[str] = []
    if text and draw(st.booleans()):
        begin = draw(st.integers(0, len(text) - 1))
        stops.append(text[begin : begin + draw(st.integers(1, 4))])
    ends = draw(st.lists(st.sampled_from(output), max_size=2)) if draw(st.booleans()) else []
    request = generate_request(
        prompt,
        draw(st.integers(1, min(18, subject.longest))),
        stop_strings=tuple(stops),
        stop_token_ids=tuple(ends),
    )
    return subject, f"self_speculative:{options}", request


@st.composite
def batches(
    draw: st.DrawFn, subjects: st.SearchStrategy[Subject], least: int = 2, most: int = 4
) -> list[Case]:
    """Sequences of one model, each drafted for in its own way."""
    subject = draw(subjects)
    return draw(st.lists(cases(st.just(subject)), min_size=least, max_size=most))


def check_case(case: Case, batch: Batch | None = None) -> tuple[int, int]:
    """Assert that a case's tokens are transformers' own and its figures sound; tokens drafted and taken."""
    subject, text, request = case
    made = generate(subject.stack, subject.tokenizer, subject.strategy(text), request, batch)
    assert made.token_ids == subject.expected(request)
    assert made.layers_run == (float(subject.layers),) * len(made.token_ids)
    if made.drafted is None:
        return 0, 0
    assert made.accepted is not None
    assert made.verify_passes is not None
    assert 0 <= made.accepted <= made.drafted
    # Each pass gives the drafts that were taken and one token more, unless a stop cuts that off.
    decoded = len(made.token_ids) - 1 - made.accepted
    assert made.verify_passes - 1 <= decoded <= made.verify_passes
    return made.drafted, made.accepted
