import io
import re

import pytest

from lsbench.report.answer_pace import AnswerPace, Written
from lsbench.report.answer_view import ColouredAnswer, PlainAnswer, answer_view

CODE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
GREEN, BLUE, YELLOW, MAGENTA = "\x1b[32m", "\x1b[1;34m", "\x1b[33m", "\x1b[35m"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "20", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def decoded(text: str, seconds: float, layers: float | None = 4.0) -> Written:
    return Written(text, "decoded", layers, seconds, None)


def test_figures_are_of_what_came_after_the_first_token():
    pace = AnswerPace(4)
    for place, layers in enumerate((4.0, 1.0, 4.0)):
        pace.add(decoded("a", 2.0 + place / 10, layers))
    assert pace.tokens_per_second == pytest.approx(10)
    assert pace.words() == "3 tokens · 10.0 tokens/s · first after 2,000 ms · 2.50 of 4 layers a token"


def test_acceptance_is_of_all_that_was_drafted():
    pace = AnswerPace(4)
    pace.add(decoded("a", 1.0))
    pace.add(Written("b", "accepted", 4.0, 2.0, 4))
    pace.add(Written("c", "verified", 4.0, 2.0, None))
    pace.add(Written("d", "verified", 4.0, 3.0, 4))
    assert pace.words().endswith("12% of drafts accepted")


def test_each_kind_of_token_has_its_colour(terminal):
    view = ColouredAnswer(terminal, 4, clock=iter(range(100)).__next__)
    for token in (
        decoded("whole ", 1),
        Written("draft ", "accepted", 4.0, 2, 1),
        Written("own ", "verified", 4.0, 2, None),
        decoded("upper\n", 3, 3.0),
        decoded("low", 4, 2.0),
    ):
        view.take(token)
    view.end("ended by eos")
    said = terminal.getvalue()
    for part in (f"{GREEN}draft ", f"{BLUE}own ", f"{YELLOW}upper", f"{MAGENTA}low"):
        assert part in said
    legend = " ".join(CODE.sub("", said).split())
    assert all(look.meaning in legend for look in view.pace.looks)


def test_long_text_stays_whole_on_the_screen(terminal):
    """What fills a row is printed for good, once, and redrawing takes back only what is not."""
    view = ColouredAnswer(terminal, 4, clock=iter(range(1000)).__next__)
    words = [f"word{number}" for number in range(30)]
    for place, word in enumerate(words):
        view.take(decoded(word + " ", place + 1))
    view.end()
    kept = terminal.getvalue().rpartition("\x1b[2K")[2]
    shown = CODE.sub("", terminal.getvalue())
    assert [word for word in words if word not in shown] == []
    assert "word29" in kept
    assert "word3 " not in kept


def test_a_pipe_gets_the_text_alone(capsys):
    stream = io.StringIO()
    view = answer_view(stream, 4, quiet=False)
    assert isinstance(view, PlainAnswer)
    for token in (decoded("one\x1b", 1), Written(" two", "accepted", 4.0, 2, 1)):
        view.take(token)
    view.end("ended by eos")
    assert stream.getvalue() == "one\x1b two\n"
    assert capsys.readouterr().err == (
        "lsbench: 2 tokens · 1.00 tokens/s · first after 1,000 ms · 100% of drafts accepted · ended by eos\n"
    )


def test_a_model_cannot_steer_the_terminal(terminal):
    assert isinstance(answer_view(terminal, 4, quiet=False), ColouredAnswer)
    quiet = answer_view(terminal, 4, quiet=True)
    terminal.truncate(0)
    quiet.take(decoded("a\x1b[2Jb", 1))
    quiet.end()
    assert terminal.getvalue().strip("\0") == "ab\n"
