"""A tiny random Llama as a folder, a real tokenizer, and small offline tasks: what a whole run needs."""

import gc
from pathlib import Path

import pytest

from lsbench.spec import RunSpec, parse_strategy
from support.models import random_llama, single_thread
from support.tasks import OF_THINGS, SCORED, write_tasks
from support.tokenizer import byte_level_tokenizer

TINY_LAYERS = 4
TINY_CONTEXT = 160

TASKS = SCORED | {
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
    return byte_level_tokenizer()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tiny_tokenizer) -> Path:
    """A folder that transformers loads: four layers of random weights, far from any tie."""
    from safetensors.torch import save_file

    model = random_llama(
        7,
        vocab_size=350,
        num_hidden_layers=TINY_LAYERS,
        max_position_embeddings=TINY_CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_range=0.4,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.save_pretrained(folder)
    # The model's own save_pretrained would import DeepSpeed first.
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
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
    write_tasks(folder, TASKS)
    return folder


@pytest.fixture(scope="session")
def spec_for(tiny_model, tiny_tasks, tmp_path_factory):
    """``spec_for(*strategies, tasks=..., **options)``: a run of the tiny model, into a folder of its own."""

    def make(*strategies: str, **options) -> RunSpec:
        given = {
            "model": str(tiny_model),
            "include_path": str(tiny_tasks),
            "output": str(tmp_path_factory.mktemp("results")),
            "threads": 1,
        }
        return RunSpec(strategies=tuple(map(parse_strategy, strategies)), **{**given, **options})

    return make


@pytest.fixture
def register(monkeypatch):
    """``register(name, strategy)``: as a third party's would be, but for the package around it."""
    from lsbench.strategy import registry

    def register(name: str, strategy: type) -> None:
        load = registry.load_strategy
        monkeypatch.setattr(registry, "load_strategy", lambda n: strategy if n == name else load(n))

    return register


@pytest.fixture
def one_thread():
    with single_thread():
        yield


HERE = Path(__file__).parent
PROOFS = (HERE / "engine", HERE / "strategies" / "families")
LONGEST = tuple(
    HERE / name
    for name in (
        *("tuning/test_tune.py", "execution/test_shards.py", "execution/cluster/test_faults.py"),
        *("cli/test_commands.py", "strategy/conformance/test_kit.py", "catalog/test_models.py"),
        *("execution/cluster/test_driver.py", "strategies/test_self_speculative.py", "cli/test_tune.py"),
        *("strategies/test_example_prompt_lookup.py", "evaluation/sandbox/test_humaneval.py"),
        *("cli/test_resume.py", "tuning/test_judge.py", "docs/test_write_a_strategy.py"),
    )
)
"""Files in the order of the time they take: with a worker to a file, short ones are to end together."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and any(folder in item.path.parents for folder in PROOFS):
            item.add_marker("proof")
    items.sort(key=lambda item: LONGEST.index(item.path) if item.path in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """What is loaded by now stays: without this, every full collection walks torch and transformers again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A run in this process lets everything go in the end, and has loaded more by then.

    No run is over in less; counting what is frozen takes long itself.
    """
    if report.duration > 0.2 and not gc.get_freeze_count():
        gc.freeze()


@pytest.fixture
def short_roofline(monkeypatch) -> None:
    """Memory and steps are timed once, briefly, at two widths."""
    from lsbench.execution import bandwidth, roofline

    monkeypatch.setattr(roofline, "_BUDGET_S", 0)
    monkeypatch.setattr(roofline, "WIDTHS", (1, 3))
    monkeypatch.setattr(bandwidth, "_BUDGET_S", 0)
    monkeypatch.setattr(bandwidth, "last_level_cache_bytes", lambda device: 0)
    monkeypatch.setitem(bandwidth._LEAST_BYTES, "cpu", 1 << 20)
