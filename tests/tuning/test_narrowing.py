"""Where to look, as people write it."""

import pytest

from lsbench.errors import BadInput
from lsbench.tuning.domains import Among, Real, Whole
from lsbench.tuning.narrowing import read_fixes, read_mapping, read_space_file, read_spaces


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("threshold=0.5..0.95", Real(0.5, 0.95)),
        ("x=-1..1", Whole(-1, 1)),
        ("x= 1 .. 8 ", Whole(1, 8)),
        ("x=1..8.5", Real(1.0, 8.5)),
        ("x=1e-3..2e-1", Real(0.001, 0.2)),
        ("exit_layer=4,8,12", Among((4, 8, 12))),
        ("kv_fill=mask, recompute", Among(("mask", "recompute"))),
        ("x=4,4,4.0,true,1", Among((4, 4.0, True, 1))),
        ("candidate_layers=[4,8],[12],auto", Among(([4, 8], [12], "auto"))),
        ("draft.threshold=null,0.5", Among((None, 0.5))),
        ("x=online", Among(("online",))),
    ],
)
def test_one_space(text, domain):
    ((name, found),) = read_spaces([text]).items()
    assert name == text.partition("=")[0]
    assert found == domain
    assert list(map(type, getattr(found, "values", ()))) == list(map(type, getattr(domain, "values", ())))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["threshold"], "not of the form NAME=LOW..HIGH or NAME=a,b,c"),
        (["=1..2"], "not of the form"),
        (["x="], "not of the form"),
        (["x=5..2"], "The space of 'x' is empty: 5..2"),
        (["x=2..2"], "write --fix x=2"),
        (["x=1..2", "x=1,2"], "--space x is given twice"),
        (["x=[1"], "cannot read"),
    ],
)
def test_bad_spaces(texts, message):
    with pytest.raises(BadInput, match=message):
        read_spaces(texts)


def test_fixes_are_read_as_options_are():
    assert read_fixes(["kv_fill=mask", "rungs=3", "adaptive=true", "layers=[4,8]", "a.b=null"]) == {
        "kv_fill": "mask",
        "rungs": 3,
        "adaptive": True,
        "layers": [4, 8],
        "a.b": None,
    }
    for texts, message in (
        (["rungs"], "NAME=VALUE"),
        (["a=1", "a=2"], "given twice"),
        (["a=[1"], "cannot read"),
    ):
        with pytest.raises(BadInput, match=message):
            read_fixes(texts)


def test_a_file_says_the_same(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "threshold: 0.5..0.95\n"
        "min_layer: 1..12\n"
        "share: {low: 0, high: 0.5}\n"
        "exit_layer: [4, 8]\n"
        "kv_fill: mask\n"
        "candidate_layers: {fix: [4, 8]}\n"
    )
    spaces, fixed = read_space_file(file)
    assert spaces == {
        "threshold": Real(0.5, 0.95),
        "min_layer": Whole(1, 12),
        "share": Real(0.0, 0.5),
        "exit_layer": Among((4, 8)),
    }
    assert fixed == {"kv_fill": "mask", "candidate_layers": [4, 8]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": {"low": 1}}, "needs a low and a high number"),
        ({"x": {"low": True, "high": 2}}, "needs a low and a high number"),
        ({"x": {"lo": 1, "high": 2}}, "Did you mean 'low'"),
        ({"x": []}, "holds no value"),
        ({"x": "3..1"}, "is empty"),
    ],
)
def test_bad_mappings(content, message):
    with pytest.raises(BadInput, match=message):
        read_mapping(content)


def test_bad_files(tmp_path):
    file = tmp_path / "space.yaml"
    with pytest.raises(BadInput, match="No such file"):
        read_space_file(file)
    for text, message in (("a: [", "is not YAML"), ("- 1", "holds no options")):
        file.write_text(text)
        with pytest.raises(BadInput, match=message):
            read_space_file(file)
