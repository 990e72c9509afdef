from pathlib import Path

import pytest
import yaml

from lsbench.cli.flags import as_yaml, build_spec
from lsbench.errors import BadInput
from lsbench.spec import DEFAULT_MODEL, RunSpec, StrategyChoice

GIVEN = {"strategies": ["static_exit:exit_layer=2"], "tasks": ["a, b", "c,a"]}


@pytest.fixture
def config(tmp_path):
    def write(content) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


def test_defaults_are_the_specs():
    spec = build_spec(GIVEN)
    assert spec == RunSpec(
        strategies=(StrategyChoice(name="static_exit", options={"exit_layer": 2}),), tasks=("a", "b", "c")
    )
    assert spec.model == DEFAULT_MODEL


def test_flags_override_the_file_and_the_file_the_defaults(config):
    path = config({"limit": 5, "seed": 7, "tasks": "a", "strategies": ["dynamic_skip"]})
    spec = build_spec({"limit": 9, "tasks": ["b"]}, path)
    assert (spec.limit, spec.seed, spec.tasks, spec.strategies[0].name) == (9, 7, ("b",), "dynamic_skip")


def test_what_is_resumed_holds_where_nothing_is_said(config):
    base = build_spec({**GIVEN, "limit": 3, "seed": 5})
    assert build_spec({}, None, base) == base
    assert build_spec({**GIVEN, "limit": 3}, None, base) == base
    assert build_spec({"limit": 4}, config({"seed": 6}), base) == base.model_copy(
        update={"limit": 4, "seed": 6}
    )


@pytest.mark.parametrize(
    "strategies",
    [
        "static_exit:exit_layer=2",
        ["static_exit:exit_layer=2"],
        [{"name": "static_exit", "options": {"exit_layer": 2}}],
        {"name": "static_exit", "options": {"exit_layer": 2}},
    ],
)
def test_a_file_may_write_strategies_in_any_of_these_ways(strategies, config):
    spec = build_spec({}, config({"strategies": strategies, "tasks": ["a", "b", "c"]}))
    assert spec == build_spec(GIVEN)


def test_what_is_printed_reads_back(config):
    spec = build_spec(
        {**GIVEN, "limit": 3, "temperature": 0.5, "include_path": "über/x", "strategies": ['x:a="1",b=[1,2]']}
    )
    assert build_spec({}, config(as_yaml(spec))) == spec


def test_lm_evals_arguments_are_read():
    spec = build_spec(
        {
            **GIVEN,
            "model_args": "pretrained=/m/x,dtype=bfloat16,revision=1e3,device=cpu",
            "gen_kwargs": "temperature=0.7,top_p=0.9,top_k=5,max_gen_toks=6,do_sample=True",
        }
    )
    assert (spec.model, spec.dtype, spec.revision, spec.device) == ("/m/x", "bfloat16", "1e3", "cpu")
    assert (spec.temperature, spec.top_p, spec.top_k, spec.max_new_tokens) == (0.7, 0.9, 5, 6)
    assert build_spec({**GIVEN, "gen_kwargs": "do_sample=false"}).temperature == 0
    assert build_spec({**GIVEN, "gen_kwargs": "do_sample=true", "temperature": 1.0}).temperature == 1
    assert build_spec({**GIVEN, "limit": 3, "model_args": "dtype=float32", "dtype": "float32"}).limit == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tasks": []}, "No task given"),
        ({"tasks": [" , "]}, "No task given"),
        ({"limit": 0}, "--limit 0: Input should be greater than or equal to 1"),
        ({"limit": -3}, "--limit -3"),
        ({"dtype": "float33"}, "--dtype 'float33'.*'float32'"),
        ({"top_p": 1.5}, "--top-p 1.5"),
        ({"temperature": -1.0}, "--temperature -1"),
        ({"max_new_tokens": 0}, "--max-new-tokens 0"),
        ({"seed": -1}, "--seed -1"),
        ({"sandbox": "loose"}, "--sandbox 'loose'"),
        ({"model_args": "pretraind=x"}, "--model-args 'pretraind'.*'pretrained'"),
        ({"model_args": "pretrained"}, "not of the form key=value"),
        ({"model_args": "pretrained=x", "model": "y"}, "--model y and --model-args.*give one"),
        ({"gen_kwargs": "num_beams=4"}, "--gen-kwargs 'num_beams'"),
        ({"gen_kwargs": "temperature=hot"}, "--temperature 'hot'"),
        ({"gen_kwargs": "do_sample=true"}, "do_sample=true.*temperature"),
        ({"gen_kwargs": "do_sample=true,temperature=0"}, "do_sample=true.*above 0"),
        ({"gen_kwargs": "do_sample=false,temperature=0.5"}, "do_sample=false.*leave out"),
        ({"gen_kwargs": "do_sample=maybe"}, "true or false"),
        ({"strategies": ["static_exit:exit_layer"]}, "not of the form key=value"),
    ],
)
def test_what_is_wrong_is_named(given, words):
    with pytest.raises(BadInput, match=words):
        build_spec({**GIVEN, **given})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"limits": 3}, "'limits'.*'limit'"),
        ({"strategy": "x"}, "'strategy'.*'strategies'"),
        ({1: 2}, "field in --config"),
        ("a: [", "not YAML"),
        ("- a\n- b\n", "holds no fields"),
        ("", "holds no fields"),
        ({"strategies": [3]}, "3 is neither"),
        ({"strategies": [{"name": "x", "opts": 1}]}, "opts"),
        ({"strategies": [{"options": {}}]}, "name"),
        ({"strategies": [{"name": "x", "options": [1]}]}, "options"),
        ("strategies: [{name: x, options: {a: 2024-01-01}}]", "options"),
        ({"limit": "many"}, "--limit 'many'"),
        ({"limit": [1]}, r"--limit \[1\]"),
        ({"include_path": 5}, "--include-path 5"),
        ({"baseline": None}, "--baseline None"),
    ],
)
def test_a_file_with_a_mistake_is_told_which(content, words, config):
    with pytest.raises(BadInput, match=words):
        build_spec({"tasks": ["a"], **({} if "strat" in str(content) else GIVEN)}, config(content))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"none\.yaml: No such file"):
        build_spec(GIVEN, tmp_path / "none.yaml")
    with pytest.raises(BadInput, match="directory"):
        build_spec(GIVEN, tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(BadInput, match="not YAML"):
        build_spec(GIVEN, tmp_path / "binary")
