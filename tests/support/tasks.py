"""Small offline tasks, as a user would write them for ``--include-path``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from support.tokenizer import CORPUS

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

def length(doc, results):
    return {{"length": float(len(results[0]))}}
"""

OF_THINGS = """
custom_dataset: !function data.things
training_split: train
test_split: test
fewshot_split: train
"""

SCORED = {
    "tiny_choice": OF_THINGS
    + """
output_type: multiple_choice
doc_to_text: "Question: what colour is {{thing}}? Answer:"
doc_to_choice: ["blue", "green", "red"]
doc_to_target: colour
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
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
}
"""Tasks of log-likelihoods, one of each kind."""


def write_tasks(folder: Path, tasks: Mapping[str, str], version: str = "1") -> None:
    """The tasks' files, and the data they read, beside each other."""
    (folder / "data.py").write_text(DATA)
    for name, text in tasks.items():
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{text}\nmetadata: {{version: {version}}}\n")
