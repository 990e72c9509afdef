"""A tiny tokenizer and model, small offline tasks, and answers from a plain forward pass."""

import json
from pathlib import Path

import pytest

from lsbench.records import SampleRecord
from lsbench.spec import GenerateRequest, RunSpec, StrategyChoice
from support.models import random_llama
from support.tasks import OF_THINGS, SCORED, write_tasks
from support.tokenizer import byte_level_tokenizer

CONTEXT = 96
VERSION = "2.5"


@pytest.fixture(scope="session")
def tokenizer():
    return byte_level_tokenizer(bos=False, chat=False)


@pytest.fixture(scope="session")
def bos_tokenizer():
    return byte_level_tokenizer(begins_with_bos=True, chat=False)


@pytest.fixture(scope="session")
def chat_tokenizer():
    return byte_level_tokenizer(begins_with_bos=True)


@pytest.fixture(scope="session")
def model():
    return random_llama(
        7,
        vocab_size=350,
        num_hidden_layers=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_range=0.5,
    )


TASKS = SCORED | {
    "tiny_bare": OF_THINGS
    + """
output_type: loglikelihood
doc_to_text: ""
doc_to_target: "{{thing}} one two"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
    "tiny_generate": OF_THINGS
    + """
output_type: generate_until
doc_to_text: "Question: what colour is {{thing}}? Answer:"
doc_to_target: "{{['blue','green','red'][colour]}}"
generation_kwargs: {until: ["e", "zz"], max_gen_toks: 6, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
filter_list:
  - name: plain
    filter: [{function: take_first}]
  - name: lower
    filter: [{function: lowercase}, {function: take_first}]
""",
}


@pytest.fixture
def own_task(tmp_path, spec_for):
    """A spec for one task of the test's own, written beside the tiny tasks' data."""

    def make(name: str, text: str, common: str = OF_THINGS, **options) -> RunSpec:
        write_tasks(tmp_path, {name: common + text}, VERSION)
        return spec_for(name, folder=tmp_path, **options)

    return make


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    write_tasks(folder, TASKS, VERSION)
    (folder / "group.yaml").write_text("group: tiny\ntask: [tiny_choice, tiny_rolling]\n")
    return folder


@pytest.fixture
def spec_for(task_folder):
    def make(*tasks: str, folder: Path | None = task_folder, **options) -> RunSpec:
        return RunSpec(
            strategies=(StrategyChoice(name="autoregressive"),),
            tasks=tasks,
            include_path=str(folder) if folder else None,
            **options,
        )

    return make


PROBLEMS = [
    {
        "task_id": f"Tiny/{i}",
        "prompt": f'def f{i}(x):\n    """Add {i}."""\n',
        "entry_point": f"f{i}",
        "canonical_solution": f"    return x + {i}  # é\n",
        "test": f"def check(f):\n    assert f(1) == {i + 1}\n",
    }
    for i in range(4)
]


@pytest.fixture
def problems():
    return PROBLEMS


@pytest.fixture
def small_humaneval(tmp_path_factory, monkeypatch):
    """Four problems in the place of HumanEval's."""
    path = tmp_path_factory.mktemp("humaneval") / "problems.jsonl"
    path.write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    monkeypatch.setattr("lsbench.catalog.prepare_data", lambda name: path)
    return path


class PlainModel:
    """Answers requests by whole forward passes over exactly the tokens they carry."""

    def __init__(self, model, tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer

    def answer(self, request) -> SampleRecord:
        common = {
            "strategy": "autoregressive",
            "options": {},
            "label": "autoregressive",
            "task": request.task,
            "doc_id": request.doc_id,
            "idx": request.idx,
            "repeat": request.repeat,
            "arguments_sha256": request.arguments_sha256,
            "prompt": request.prompt,
            "prompt_tokens": 0,
        }
        if isinstance(request, GenerateRequest):
            return SampleRecord(kind="generate", text=self._continue(request), **common)
        scores = [self._score(window) for window in request.windows]
        return SampleRecord(
            kind="score", logprob=sum(s for s, _ in scores), is_greedy=all(g for _, g in scores), **common
        )

    def _score(self, window) -> tuple[float, bool]:
        import torch

        tokens = torch.tensor([window.context + window.continuation])
        with torch.no_grad():
            logits = self.model(tokens[:, :-1]).logits[0, -len(window.continuation) :].log_softmax(-1)
        wanted = torch.tensor(window.continuation)
        return logits.gather(1, wanted[:, None]).sum().item(), bool((logits.argmax(-1) == wanted).all())

    def _continue(self, request) -> str:
        import torch

        tokens, text = list(request.prompt_tokens), ""
        while len(tokens) < len(request.prompt_tokens) + request.max_new_tokens:
            with torch.no_grad():
                tokens.append(self.model(torch.tensor([tokens])).logits[0, -1].argmax().item())
            new = tokens[len(request.prompt_tokens) :]
            text = self.tokenizer.decode(new, skip_special_tokens=True)
            if tokens[-1] in request.stop_token_ids or any(stop in text for stop in request.stop_strings):
                break
        cuts = [text.index(stop) for stop in request.stop_strings if stop in text]
        return text[: min(cuts)] if cuts else text


@pytest.fixture
def plain_model(model, one_thread):
    return lambda tokenizer: PlainModel(model, tokenizer)
