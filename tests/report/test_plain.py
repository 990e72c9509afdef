from hypothesis import given
from hypothesis import strategies as st

from lsbench.report.plain import ascii_only, markdown, one_line, printable


def test_escape_sequences_and_control_characters_go():
    hostile = "a\x1b[31mred\x1b[0m\x1b]8;;http://x\x07link\x1b]8;;\x07\x00\x08\x9b1mb\r\nc\td\u202eевил"
    assert printable(hostile) == "aredlink1mb\nc\tdевил"


def test_one_line_joins_lines():
    assert one_line(" a\n\n b\x0bc\u2028d ") == "a bc d"


def test_markdown_is_defused_but_names_stay_readable():
    assert markdown("dynamic_skip:x=[1]|<b>*`&`*") == r"dynamic_skip:x=\[1\]\|&lt;b&gt;\*\`&amp;\`\*"
    assert markdown("_it_ a_b __c") == r"\_it\_ a_b \_\_c"


def test_ascii_only_keeps_the_meaning():
    assert ascii_only("0.93× (0.91–0.95) → ↓ é") == "0.93x (0.91-0.95) -> (lower is better) ?"


@given(st.text())
def test_nothing_that_moves_a_cursor_survives(text):
    shown = printable(text)
    assert not any((ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160 for char in shown)
    shown.encode("utf-8")
