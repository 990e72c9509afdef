"""transformers' own ``generate``: what most people would use, and a second, outside baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lsbench.engine import Sampler
from lsbench.strategy import BadInput, Emitted, Member, StreamRelay
from lsbench_strategies.transformers_generation import Draws, TransformersGeneration


class HfGenerate(TransformersGeneration):
    """Full depth, token by token, in transformers' loop; sampled tokens are drawn as the baseline draws them.

    Fed from the same weights through the engine's linear modules; float rounding differs from the engine's
    loop, so that reduced precisions may part at a tie.
    """

    batchable = True
    own_draws = False

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
        call: dict[str, Any] = {"generation_config": self.config(model, requests), "attention_mask": mask}
        if not all(request.sampling.greedy for request in requests):
            agreement = members[0].session.stack.agreement
            samplers = [Sampler(request.sampling, request.seed, agreement) for request in requests]
            call["logits_processor"] = [Draws(samplers, going)]
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
