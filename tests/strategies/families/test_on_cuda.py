"""On a GPU: self_speculative decodes greedily as transformers' ``generate`` does there, in every family."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine.graphs import GraphedDecoder
from lsbench.engine.native.library import GRAPHS
from support.families.models import VARIANTS, random_model, tiny_config
from support.speculation import Subject, cases, check_case

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
SUBJECTS: dict[tuple[str, bool], Subject] = {}
WITH_GRAPHS = ("llama", "mistral", "gemma2", "qwen3", "smollm3")


def _subject(name: str, graphs: bool, tokenizer: object) -> Subject:
    if (name, graphs) not in SUBJECTS:
        variant = VARIANTS[name]
        options = {**variant.options, "vocab_size": len(tokenizer)}  # type: ignore[arg-type]
        model = random_model(tiny_config(variant.model_type, **options)).to("cuda")
        theirs = None
        if variant.model_type == "gemma2":
            theirs = random_model(tiny_config(variant.model_type, **options)).to("cuda")
            theirs.config._attn_implementation = "precise"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(GRAPHS, str(int(graphs)))
            made = Subject(model, tokenizer, [(4, 7), (5, 17, 3, 44, 8, 21, 9)], ((5, 6, 7, 8),), 9, theirs)
        assert graphs == isinstance(made.stack.native, GraphedDecoder)
        SUBJECTS[name, graphs] = made
    return SUBJECTS[name, graphs]


@pytest.mark.parametrize(
    ("name", "graphs"), [*((name, False) for name in VARIANTS), *((name, True) for name in WITH_GRAPHS)]
)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_it_is_token_identical(name: str, graphs: bool, tiny_tokenizer, data: st.DataObject) -> None:
    check_case(data.draw(cases(st.just(_subject(name, graphs, tiny_tokenizer)))))
