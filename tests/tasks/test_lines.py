"""A user's file is used whole or not at all, and what is wrong is named by its line."""

import pytest

from lsbench_tasks.jsonl.lines import BadLines, Line, divided, read_lines

GOOD = '{"prompt": "The sky is", "reference": "blue"}'
COLOURS = [f'{{"prompt": "{thing} is", "reference": "{colour}"}}' for thing, colour in
           (("Sky", "blue"), ("Grass", "green"), ("Blood", "red"), ("Ink", "black"))]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    def write(content: str | bytes, name: str = "own.jsonl"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_lines_keep_their_numbers_and_several_references(file):
    path = file('\ufeff{"q": "é?", "a": ["x", "y"], "more": 1}\n\n  \r\n{"a": "z", "q": " w"}')
    assert read_lines(path, "q", "a") == [Line(1, "é?", ("x", "y")), Line(4, " w", ("z",))]
    assert read_lines(path, "q", "none") == [Line(1, "é?", ()), Line(4, " w", ())]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "a" "reference": "b"}', "not JSON (Expecting ',' delimiter at column 16)"),
        (b'["a", "b"]', "a list, not an object"),
        (b'{"prompt": "caf\xe9", "reference": "b"}', "not UTF-8 (byte 0xe9 at 16)"),
        (b'{"Prompts": "a", "reference": "b"}', "no field 'prompt' (did you mean 'Prompts'?)"),
        (b'{"prompt": "a", "x": "b"}', "no field 'reference'; fields: 'prompt', 'x'"),
        (b'{"prompt": 7, "reference": "b"}', "'prompt' is a number, not a text"),
        (b'{"prompt": null, "reference": "b"}', "'prompt' is null, not a text"),
        (b'{"prompt": " ", "reference": "b"}', "'prompt' is empty"),
        (b'{"prompt": "a", "reference": []}', "'reference' is an empty list"),
        (b'{"prompt": "a", "reference": ["b", true]}', "'reference' is true or false, not a text"),
        (b'{"prompt": "\\ud83d", "reference": "b"}', "half of a surrogate pair"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_is_named_by_its_number(line, reason, file):
    with pytest.raises(BadLines) as caught:
        read_lines(file(GOOD.encode() + b"\n\n" + line + b"\n" + GOOD.encode()))
    assert str(caught.value).startswith("1 of 3 lines cannot be used: line 3: ")
    assert reason in str(caught.value)


def test_many_bad_lines_are_counted(file):
    with pytest.raises(BadLines, match=r"^7 of 8 lines.*line 1: .*line 5: .*; and 2 more$") as caught:
        read_lines(file("{\n" * 5 + GOOD + "\n" + "{\n" * 2))
    assert "line 7" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it holds no line"),
        ("\n \n", "it holds no line"),
        (f"[{GOOD}]", "the file holds a JSON list; write one JSON object a line"),
        ('{"promt": "a", "reference": "b"}\n' * 9, "every line: no field 'prompt' (did you mean 'promt'?)"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole(content, reason, file):
    with pytest.raises(BadLines) as caught:
        read_lines(file(content))
    assert reason in str(caught.value)


def test_examples_are_set_aside_or_come_from_their_own_file(file):
    path = file("\n".join(COLOURS))
    lines, shown = divided(path, "prompt", "reference", 1, None)
    assert [line.number for line in lines] == [2, 3, 4]
    assert [line.prompt for line in shown] == ["Sky is"]
    own = file('{"prompt": "Rose is", "reference": "red"}\n' * 2, "shots.jsonl")
    lines, shown = divided(path, "prompt", "reference", 2, own)
    assert [line.number for line in lines] == [1, 2, 3, 4]
    assert [line.prompt for line in shown] == ["Rose is"] * 2


@pytest.mark.parametrize(
    ("examples", "shots", "reason"),
    [
        (4, None, "it has 4 lines, and 4 set aside as examples leave none to evaluate"),
        (2, COLOURS[3].replace("Ink", "Jet"), "2 examples are wanted, but .*shots.jsonl has 1 lines"),
        (1, COLOURS[3], "line 4 has the prompt of the example in line 1 of .*shots.jsonl"),
        (1, "{}", "of the examples in .*shots.jsonl: every line: no field 'prompt'"),
    ],
)
def test_examples_that_cannot_be_had(examples, shots, reason, file):
    own = None if shots is None else file(shots, "shots.jsonl")
    with pytest.raises(BadLines, match=reason):
        divided(file("\n".join(COLOURS)), "prompt", "reference", examples, own)


def test_an_example_that_comes_again_is_refused(file):
    path = file("\n".join([*COLOURS, COLOURS[0]]))
    with pytest.raises(BadLines, match=r"line 5 has the prompt of the example in line 1 of the same file"):
        divided(path, "prompt", "reference", 1, None)
