"""In every family self_speculative decodes greedily as transformers' ``generate`` does, token by token.

Whatever drafts, however many tokens, wherever a stop string, an end or the limit falls within a block, alone
or beside others in a batch. Each family's head is tied here where its other tests have it untied, and the
other way round.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine.batch import Batch
from support.families.models import LAYERS, VARIANTS, WINDOW, random_model, tiny_config
from support.requests import generate_request
from support.speculation import Subject, batches, check_case

LONGEST = 9
KEPT = 0.6
"""What the later layers' weights are multiplied by, so that they change little and some drafts are taken."""
PROMPTS = ((4, 7), (5, 17, 3, 44, 8, 21, 9, 260, 33))
"""Short of the window, so that it is reached while decoding, and longer."""

pytestmark = pytest.mark.slow
SUBJECTS: dict[str, Subject] = {}


def subject_of(name: str, tokenizer: Any) -> Subject:
    if name not in SUBJECTS:
        SUBJECTS[name] = _made(name, tokenizer)
    return SUBJECTS[name]


def _made(name: str, tokenizer: Any) -> Subject:
    variant = VARIANTS[name]
    tied = not variant.options.get("tie_word_embeddings", False)
    options = {**variant.options, "vocab_size": len(tokenizer), "tie_word_embeddings": tied}
    model = random_model(tiny_config(variant.model_type, **options))
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head is embedding) == tied
    with torch.no_grad():
        for layer in model.get_submodule(variant.decoder).layers[LAYERS // 2 :]:
            for parameter in layer.parameters():
                parameter.mul_(KEPT)
    theirs = copy.deepcopy(model)
    if variant.model_type == "gemma2":
        theirs.config._attn_implementation = "precise"
    generator = torch.Generator().manual_seed(5)
    calibration = torch.randint(4, len(tokenizer), (2, 8), generator=generator).tolist()
    return Subject(model, tokenizer, list(PROMPTS), tuple(map(tuple, calibration)), LONGEST, theirs)


@pytest.mark.parametrize("name", VARIANTS)
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(data=st.data())
def test_it_is_token_identical_alone_and_in_batches(name: str, tiny_tokenizer, data: st.DataObject) -> None:
    drawn = data.draw(batches(st.just(subject_of(name, tiny_tokenizer)), 1, 3))
    if len(drawn) == 1:
        check_case(drawn[0])
        return
    batch = Batch(drawn[0][0].stack)
    assert len(list(batch.run([partial(check_case, case, batch) for case in drawn]))) == len(drawn)


def test_most_families_take_some_drafts_and_refuse_some(tiny_tokenizer) -> None:
    """Where none or all are taken, identity would say little."""
    mixed = 0
    for name in VARIANTS:
        subject = subject_of(name, tiny_tokenizer)
        batch, text = Batch(subject.stack), "self_speculative:draft=static_exit,draft.exit_layer=1"
        requests = [generate_request(prompt, LONGEST) for prompt in PROMPTS]
        counts = list(batch.run([partial(check_case, (subject, text, r), batch) for r in requests]))
        drafted, taken = map(sum, zip(*counts, strict=True))
        mixed += 0 < taken < drafted
    assert mixed >= 0.9 * len(VARIANTS)


def test_the_prompts_reach_beyond_the_windows(tiny_tokenizer) -> None:
    assert min(map(len, PROMPTS)) < WINDOW < max(map(len, PROMPTS))
    assert max(map(max, PROMPTS)) < len(tiny_tokenizer)
