"""References hold what a full pass computes, and are decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lsbench.engine import DepthPlan, Session
from lsbench.spec import Sampling
from lsbench.tuning import references as module
from lsbench.tuning.references import References, make_references
from support.judging import PROMPTS, Bench, llama_bench
from support.models import single_thread
from support.requests import generate_request
from support.tokenizer import byte_level_tokenizer


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def bench() -> Bench:
    return llama_bench()


def made(bench: Bench, folder: Path, sha256: str = "a", tokens: int = 6) -> References:
    requests = [generate_request(prompt, tokens) for prompt in PROMPTS[:2]]
    return make_references(bench.stack, byte_level_tokenizer(), requests, sha256, folder)


def test_the_states_are_those_of_every_depth(bench: Bench) -> None:
    stack, reference = bench.stack, bench.references.references[0]
    assert reference.session.exact_lengths == (reference.prompt_length + reference.rows,)
    for layer in (1, 3, stack.num_layers):
        session = Session(stack)
        session.prefill(torch.tensor([reference.request.prompt_tokens]))
        plan = DepthPlan.exit_at(stack.num_layers, layer)
        logits = session.forward(torch.tensor([reference.tokens[:-1]]), plan).logits[0]
        torch.testing.assert_close(stack.head(reference.hidden[2 * layer]), logits, rtol=1e-9, atol=1e-9)
    assert logits.argmax(-1).tolist() == reference.targets.tolist()


def test_what_the_baseline_wrote_is_kept_and_not_decoded_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(bench, tmp_path)
    decoded: list[int] = []

    def counted(*given, **named):
        decoded.append(1)
        return generate(*given, **named)

    generate = module.generate
    monkeypatch.setattr(module, "generate", counted)
    again = made(bench, tmp_path)
    assert not decoded
    assert [each.continuation for each in again.references] == [
        each.continuation for each in first.references
    ]
    made(bench, tmp_path, sha256="another model's")
    assert len(decoded) == 2
    made(bench, tmp_path, tokens=7)
    assert len(decoded) == 4
    # None of these has pushed another out.
    made(bench, tmp_path)
    assert len(decoded) == 4


def test_a_file_that_cannot_be_read_is_written_anew(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "references.json").write_text("{")
    first = made(bench, tmp_path)
    assert made(bench, tmp_path).references[0].continuation == first.references[0].continuation


def test_a_prompt_with_nothing_to_be_judged_by_is_left_out(bench: Bench) -> None:
    ended = bench.references.references[0]
    requests = [
        generate_request(PROMPTS[0], 40, stop_token_ids=(ended.tokens[0],)),
        generate_request(PROMPTS[1], 5, sampling=Sampling(temperature=1.5)),
    ]
    found = make_references(bench.stack, byte_level_tokenizer(), requests, "a")
    assert [each.request.prompt_tokens for each in found.references] == [PROMPTS[1]]
    # However the run samples, a reference is what the model finds most likely.
    assert found.references[0].tokens == bench.references.references[1].tokens[:5]
    assert found.decoded == 4
