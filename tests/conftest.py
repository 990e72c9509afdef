"""A tiny random Llama as a folder, a real tokenizer, and small offline tasks: what a whole run needs."""

from pathlib import Path

import pytest

# Before anything imports it: its asserts, too, say what they compared.
pytest.register_assert_rewrite("support")

TINY_LAYERS = 4
TINY_CONTEXT = 160

CORPUS = [
    "def add(a, b):\n    return a + b\n",
    "The sky is blue. The grass is green. Question: what colour is it? Answer: blue",
    "one two three four five six seven eight nine ten",
    "naïve café, größer, 日本語, 🙂🙃",
]

CHAT_TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)

COLOURS = ["blue", "green", "red"]
THINGS = ["sky", "grass", "blood", "sea", "leaf"]
SHOTS = ["jeans", "frog", "rose", "ink"]
TEXTS = [CORPUS[0] * 6, "one two three", CORPUS[1] * 3]

DATA = f"""
from datasets import Dataset

def things(**_):
    def split(names):
        return Dataset.from_list([{{"thing": name, "colour": i % 3}} for i, name in enumerate(names)])
    return {{"train": split({SHOTS!r}), "test": split({THINGS!r})}}

def texts(**_):
    return {{"test": Dataset.from_list([{{"text": text}} for text in {TEXTS!r}])}}

def long(**_):
    return {{"test": Dataset.from_list([{{"text": "one two three four " * 100}}])}}
"""

OF_THINGS = """
custom_dataset: !function data.things
training_split: train
test_split: test
fewshot_split: train
"""

TASKS = {
    "tiny_generate": OF_THINGS
    + """
output_type: generate_until
doc_to_text: "Question: what colour is {{thing}}? Answer:"
doc_to_target: "{{['blue','green','red'][colour]}}"
generation_kwargs: {until: ["zz", "\\n\\n"], max_gen_toks: 12, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
""",
    "tiny_stop": OF_THINGS
    + """
output_type: generate_until
doc_to_text: "The {{thing}} is"
doc_to_target: "{{['blue','green','red'][colour]}}"
generation_kwargs: {until: ["e", "on", "é"], max_gen_toks: 30, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
""",
    "tiny_choice": OF_THINGS
    + """
output_type: multiple_choice
doc_to_text: "Question: what colour is {{thing}}? Answer:"
doc_to_choice: ["blue", "green", "red"]
doc_to_target: colour
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
    "tiny_target": OF_THINGS
    + """
output_type: loglikelihood
doc_to_text: "The {{thing}} is  "
doc_to_target: "{{['blue','green','red'][colour]}}"
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
    "tiny_rolling": """
custom_dataset: !function data.texts
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
""",
    "tiny_long": """
custom_dataset: !function data.long
test_split: test
output_type: generate_until
doc_to_text: text
doc_to_target: text
generation_kwargs: {until: [], max_gen_toks: 4}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
""",
}


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level BPE: characters of several bytes fall into several tokens, or share one with others."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<s>", "</s>", "<|turn|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|end|>"]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tiny_tokenizer) -> Path:
    """A folder that transformers loads: four layers of random weights, far from any tie."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=350,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=TINY_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=TINY_CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_range=0.4,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    # The model's own save_pretrained would import DeepSpeed first.
    save_file(LlamaForCausalLM(config).state_dict(), folder / "model.safetensors", {"format": "pt"})
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_stack(tiny_model):
    """The tiny model in float64, addressable by depth."""
    from lsbench.engine.loading import load_stack

    return load_stack(tiny_model, "float64", "cpu")


@pytest.fixture(scope="session")
def tiny_tasks(tmp_path_factory) -> Path:
    """A folder for ``--include-path``."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "data.py").write_text(DATA)
    for name, text in TASKS.items():
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{text}\nmetadata: {{version: 1}}\n")
    return folder


@pytest.fixture
def one_thread():
    """Threads that wait for each other cost far more than so small a model gains by them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
