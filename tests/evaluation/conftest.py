"""A tiny tokenizer and model, small offline tasks, and answers from a plain forward pass."""

import json
from pathlib import Path

import pytest

from lsbench.records import SampleRecord
from lsbench.spec import GenerateRequest, RunSpec, StrategyChoice

CONTEXT = 96

CORPUS = [
    "def add(a, b):\n    return a + b\n",
    "The sky is blue. The grass is green. Question: what colour is it? Answer: blue",
    "one two three four five six seven eight nine ten",
]

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(bos: bool, chat: bool = False):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    names = {"eos_token": "</s>"}
    if bos:
        names["bos_token"] = "<s>"
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="</s>", **names)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer(bos=False)


@pytest.fixture(scope="session")
def bos_tokenizer():
    return build_tokenizer(bos=True)


@pytest.fixture(scope="session")
def chat_tokenizer():
    return build_tokenizer(bos=True, chat=True)


@pytest.fixture(scope="session")
def model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=340,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


COLOURS = ["blue", "green", "red"]
DOCS = [{"thing": thing, "colour": i % 3} for i, thing in enumerate(["sky", "grass", "blood", "sea", "leaf"])]
SHOTS = [{"thing": thing, "colour": i % 3} for i, thing in enumerate(["jeans", "frog", "rose", "ink"])]
TEXTS = [{"text": CORPUS[0] * 6}, {"text": "one two three"}, {"text": CORPUS[1] * 3}]

COMMON = """
custom_dataset: !function data.things
training_split: train
test_split: test
fewshot_split: train
"""

TASKS = {
    "tiny_choice": COMMON
    + """
output_type: multiple_choice
doc_to_text: "Question: what colour is {{thing}}? Answer:"
doc_to_choice: ["blue", "green", "red"]
doc_to_target: colour
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
""",
    "tiny_target": COMMON
    + """
output_type: loglikelihood
doc_to_text: "The {{thing}} is  "
doc_to_target: "{{['blue','green','red'][colour]}}"
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
    "tiny_bare": COMMON
    + """
output_type: loglikelihood
doc_to_text: ""
doc_to_target: "{{thing}} one two"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
    "tiny_rolling": """
custom_dataset: !function data.texts
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
""",
    "tiny_generate": COMMON
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

DATA = """
from datasets import Dataset

def things(**_):
    return {{"train": Dataset.from_list({shots!r}), "test": Dataset.from_list({docs!r})}}

def texts(**_):
    return {{"test": Dataset.from_list({texts!r})}}

def length(doc, results):
    return {{"length": float(len(results[0]))}}
"""


def write_task(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.yaml").write_text(f"task: {name}\n{text}\nmetadata: {{version: 2.5}}\n")


@pytest.fixture
def own_task(tmp_path, spec_for):
    """A spec for one task of the test's own, written beside the tiny tasks' data."""

    def make(name: str, text: str, common: str = COMMON, **options) -> RunSpec:
        (tmp_path / "data.py").write_text(DATA.format(shots=SHOTS, docs=DOCS, texts=TEXTS))
        write_task(tmp_path, name, common + text)
        return spec_for(name, folder=tmp_path, **options)

    return make


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "data.py").write_text(DATA.format(shots=SHOTS, docs=DOCS, texts=TEXTS))
    for name, text in TASKS.items():
        write_task(folder, name, text)
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
def one_thread():
    """Threads that wait for each other cost far more than so small a model gains by them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def plain_model(model, one_thread):
    return lambda tokenizer: PlainModel(model, tokenizer)
