"""transformers' own ``generate``: what most people would use, and a second, outside baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor

from lsbench.engine import Sampler, Session
from lsbench.strategy import (
    BadInput,
    Emitted,
    GenerateRequest,
    Member,
    Preparation,
    StrategyOptions,
    StreamRelay,
    option,
)
from lsbench_strategies.compiled_step import CompiledStep
from lsbench_strategies.transformers_generation import Draws, TransformersGeneration


class HfGenerateOptions(StrategyOptions):
    """Options of ``hf_generate``."""

    cache: Literal["dynamic", "static"] = option(
        "dynamic",
        help="dynamic: grows with the text; static: of one size, over which attention goes whole",
        changes="cost",
    )
    compile: bool = option(
        False,
        help="torch.compile of the decoding step, static cache, outside of all timings; CUDA alone",
        changes="cost",
    )

    @property
    def static(self) -> bool:
        """Whether the cache is: a compiled step needs one."""
        return self.compile or self.cache == "static"


class HfGenerate(TransformersGeneration):
    """Full depth, token by token, in transformers' loop; sampled tokens are drawn as the baseline draws them.

    Fed from the same weights through the engine's linear modules; float rounding differs from the engine's
    loop, so that reduced precisions may part at a tie.
    """

    Options = HfGenerateOptions
    batchable = True
    own_draws = False

    def __init__(self, options: StrategyOptions) -> None:
        super().__init__(options)
        self._compiled = CompiledStep()

    def prepare(self, preparation: Preparation) -> None:
        """Nothing is calibrated; whether the step can be compiled is known now.

        Raises:
            CannotRun: it is to be and cannot.
        """
        if self._options.compile:
            self._compiled.check(preparation.stack)

    def model(self, session: Session) -> Any:
        """As any other's; a compiled one stays what it is, or it would be compiled anew."""
        if not self._options.compile:
            return super().model(session)
        return self._compiled.model(session.model, lambda: super(HfGenerate, self).model(session))

    def config(self, model: Any, requests: Sequence[GenerateRequest]) -> Any:
        """With the cache that was asked for."""
        config = super().config(model, requests)
        if self._options.static:
            longest = max(len(request.prompt_tokens) for request in requests)
            config.cache_implementation = "static"
            config.max_cache_len = self._compiled.capacity(longest + config.max_new_tokens)
            # transformers compiles wherever there is a static cache on a GPU, asked or not.
            config.disable_compile = not self._options.compile
            config.compile_config = self._compiled.how if self._options.compile else None
        return config

    def get_ready(self, model: Any, config: Any, ids: Tensor, mask: Tensor) -> None:
        """Compile, where a step of this kind has not been yet."""
        if self._options.compile:
            self._compiled.get_ready(model, config, ids, mask)

    @property
    def _options(self) -> HfGenerateOptions:
        return cast(HfGenerateOptions, self.options)

    def generate_together(self, members: Sequence[Member]) -> Iterator[tuple[int, Emitted]]:
        """One token for each at every step of one ``generate``, over prompts padded on the left.

        transformers keeps a sequence that has ended in the batch until the last one has, and so does this.
        """
        requests = [member.request for member in members]
        left = [request.max_new_tokens for request in requests]
        going = [count > 0 for count in left]
        if not any(going):
            return
        model = self.model(members[0].session)
        ids, mask = _padded([request.prompt_tokens for request in requests], model.device)
        if not mask.all() and _loses_padding(model):
            raise BadInput(
                "hf_generate: transformers' eager attention gives no number for prompts of different lengths "
                "in float64; use --dtype float32, or --batch-size 1"
            )
        config = self.config(model, requests)
        call: dict[str, Any] = {"generation_config": config, "attention_mask": mask}
        if not all(request.sampling.greedy for request in requests):
            agreement = members[0].session.stack.agreement
            samplers = [Sampler(request.sampling, request.seed, agreement) for request in requests]
            call["logits_processor"] = [Draws(samplers, going)]
        self.get_ready(model, config, ids, mask)
        for tokens in StreamRelay().run(lambda relay: model.generate(ids, streamer=relay, **call)):
            for place, (member, token) in enumerate(zip(members, tokens, strict=True)):
                if not going[place]:
                    continue
                yield place, Emitted((token,), None)
                left[place] -= 1
                stopped = token in member.request.stop_token_ids
                going[place] = not (member.ended or stopped or left[place] == 0)
            if not any(going):
                return


def _padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """[B, longest] ids, and [B, longest] 1 where they are a prompt's, which all end at the right."""
    longest = max(map(len, prompts))
    ids = torch.zeros((len(prompts), longest), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


def _loses_padding(model: Any) -> bool:
    """Whether a row that is all padding is attended to by nothing, and comes out as NaN for all who see it.

    Eager attention takes its softmax in float32, where the least number of float64, which masks, is minus
    infinity. Models whose scores are capped (Gemma 2) know no other attention.
    """
    return model.config._attn_implementation == "eager" and model.dtype == torch.float64
