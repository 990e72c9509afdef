"""Strategies as the command line spells them: what is read, what is refused, and that a label reads back."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lsbench.errors import BadInput
from lsbench.spec import StrategyChoice, parse_strategy

names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
keys = st.from_regex(r"[a-z][a-z0-9_]{0,8}(\.[a-z][a-z0-9_]{0,8})?", fullmatch=True)
NOT_PLAIN = (
    'on no yes true null ~ 12 1e5 -0 .5 .inf 0x1f 1_000 12:30:45 2024-01-01 = << it\'s [1 x] { (1,2) say"x" '
    "*alias &anchor !tag %x @x `x` | > \\ \\n --- ... - ? : 3.mlp ~/set.yaml C:\\set.yaml é 🐟"
)
awkward = st.sampled_from(
    [
        *NOT_PLAIN.split(),
        "",
        " ",
        "#no comment",
        "a #b",
        "a: b",
        "- a",
        "a\nb",
        "\t",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
    ]
)
words = st.text(max_size=6) | awkward
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=12), awkward
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def exactly(value: object) -> str:
    """Text that tells 1, 1.0 and True apart, which compare equal."""
    return json.dumps(value, sort_keys=True)


class TestLabel:
    @given(st.builds(StrategyChoice, name=names, options=st.dictionaries(keys, values, max_size=4)))
    @example(StrategyChoice(name="a", options={"k": 1e-05}))
    @example(StrategyChoice(name="a", options={"k": "1e-05"}))
    @example(StrategyChoice(name="a", options={"k": math.inf, "l": [-math.inf]}))
    @example(StrategyChoice(name="a", options={"k": ["a,b", "c]", 'd"e', "f'g"]}))
    @example(StrategyChoice(name="a", options={"k": "x\\", "l": '"\\"'}))
    def test_reads_back_as_the_choice_it_came_from(self, choice: StrategyChoice) -> None:
        again = parse_strategy(choice.label)
        assert again.name == choice.name
        assert exactly(again.options) == exactly(choice.options)

    def test_is_one_line_of_printable_text(self) -> None:
        label = StrategyChoice(name="a", options={"k": "x\ny\x1b[31m\u2028"}).label
        assert label.isprintable()

    def test_needs_no_quotes_for_ordinary_values(self) -> None:
        options = {"skip_set": [12, "13.mlp"], "kv_fill": "mask", "ratio": 0.25, "file": "sets/best-1.yaml"}
        label = StrategyChoice(name="dynamic_skip", options=options).label
        assert label == "dynamic_skip:file=sets/best-1.yaml,kv_fill=mask,ratio=0.25,skip_set=[12,13.mlp]"

    def test_does_not_depend_on_the_order_of_options(self) -> None:
        one = StrategyChoice(name="a", options={"x": 1, "y": 2})
        other = StrategyChoice(name="a", options={"y": 2, "x": 1})
        assert one.label == other.label

    @given(st.dictionaries(keys, values, max_size=2), st.dictionaries(keys, values, max_size=2))
    def test_differs_where_options_differ(self, one: dict, other: dict) -> None:
        labels = {StrategyChoice(name="a", options=options).label for options in (one, other)}
        assert (len(labels) == 1) == (exactly(one) == exactly(other))


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "name", "options"),
        [
            ("static_exit", "static_exit", {}),
            ("static_exit:exit_layer=20", "static_exit", {"exit_layer": 20}),
            (" a : k = 20 , l = mask ", "a", {"k": 20, "l": "mask"}),
            ("d:draft=dynamic_skip,draft.max_skip_ratio=0.4,num_speculations=6", "d",
             {"draft": "dynamic_skip", "draft.max_skip_ratio": 0.4, "num_speculations": 6}),
            ("a:k=[4,8]", "a", {"k": [4, 8]}),
            ("a:k=[[1,2],[3]],l=x", "a", {"k": [[1, 2], [3]], "l": "x"}),
            ("a:k=[12,13.mlp]", "a", {"k": [12, "13.mlp"]}),
            ("a:k={x: 1, y: [2,3]},l=4", "a", {"k": {"x": 1, "y": [2, 3]}, "l": 4}),
            ("a:k='x,y',l=1", "a", {"k": "x,y", "l": 1}),
            ('a:k="x,\\"y\\",z",l=1', "a", {"k": 'x,"y",z', "l": 1}),
            ("a:k='it''s, so',l=1", "a", {"k": "it's, so", "l": 1}),
            ("a:k=it's,l=1", "a", {"k": "it's", "l": 1}),
            ("a:k=x],l=1", "a", {"k": "x]", "l": 1}),
            ("a:k=[']',1],l=1", "a", {"k": ["]", 1], "l": 1}),
            ("a:k=x=y", "a", {"k": "x=y"}),
            ("a:k=/tmp/a:b.yaml", "a", {"k": "/tmp/a:b.yaml"}),
            ("a:k=", "a", {"k": ""}),
            ("a:k=1e-3,l=1E5,m=-.5,n=5.", "a", {"k": 0.001, "l": 100000.0, "m": -0.5, "n": 5.0}),
            ("a:k=true,l=False,m=null,n=~", "a", {"k": True, "l": False, "m": None, "n": None}),
        ],
    )  # fmt: skip
    def test_reads(self, text: str, name: str, options: dict) -> None:
        choice = parse_strategy(text)
        assert choice.name == name
        assert exactly(choice.options) == exactly(options)

    @pytest.mark.parametrize("word", ["on", "off", "no", "y", "12:30", "2024-01-01", "1_000", "0x1f", "="])
    def test_words_that_yaml_1_1_turns_into_something_else_stay_words(self, word: str) -> None:
        assert parse_strategy(f"a:k={word}").options == {"k": word}

    def test_a_leading_zero_is_a_decimal_number(self) -> None:
        assert parse_strategy("a:k=010").options == {"k": 10}

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "no strategy name"),
            ("   ", "no strategy name"),
            (":k=1", "no strategy name"),
            ("a:", "gives no option"),
            ("a: ", "gives no option"),
            ("a:k", "'k' is not of the form key=value"),
            ("a:k=1,l", "'l' is not of the form key=value"),
            ("a:=1", "'=1' is not of the form key=value"),
            ("a:k=1,l\nm=2", "'l\\nm=2' is not of the form key=value"),
            ("a:k l=2", "'k l=2' is not of the form key=value"),
            ("a:k=1,", "empty option"),
            ("a:,k=1", "empty option"),
            ("a:k=1,,l=2", "empty option"),
            ("a:k=1,l=2,k=3", "'k' is given twice"),
            ("a:k=[1,2", "'k'"),
            ("a:k='x", "'k'"),
            ("a:k=@x", "'k'"),
            ("a:k=*x", "'k'"),
            ("a:k=!!python/name:os.system", "'k'"),
            ("a:k=!!binary aGk=", "'k'"),
            ("a:k={1: 2}", "'k'"),
            ("a:k=&x [*x]", "'k'"),
            ("a:k=" + "9" * 5000, "'k'"),
            ("a:k=" + "[" * 600 + "]" * 600, "'k'"),
            ("a:k=x\x00y", "'k'"),
        ],
    )
    def test_refuses(self, text: str, says: str) -> None:
        with pytest.raises(BadInput) as refusal:
            parse_strategy(text)
        message = str(refusal.value)
        assert says in message
        assert "\n" not in message
        assert len(message) < 400

    @given(st.text(max_size=40) | st.text("a=:,[]{}()'\"\\ 1.#&*!|>-\n", max_size=30).map("a:k={}".format))
    def test_any_text_is_read_or_refused_in_one_line(self, text: str) -> None:
        try:
            choice = parse_strategy(text)
        except BadInput as refusal:
            message = str(refusal)
        else:
            message = choice.label
            assert exactly(parse_strategy(message).options) == exactly(choice.options)
        assert "\n" not in message.removeprefix(text.partition(":")[0].strip())
