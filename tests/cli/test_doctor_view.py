import io

import pytest
from rich.console import Console

from lsbench.cli.doctor_view import show_checklist, show_roofline
from lsbench.doctor.finding import Finding
from lsbench.doctor.roofline import Roofline
from lsbench.execution.roofline import WIDTHS, PartCost, StepProfile
from lsbench.records import Bandwidth


def shown(show, *given, width=80, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    console = Console(file=stream, width=width, highlight=False)
    show(console, *given)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def profile(width):
    parts = (PartCost("MLP", 0.01234 * width, 10**9), PartCost("norms", 0.0001), PartCost("rest", -0.00042))
    seconds = sum(part.seconds for part in parts)
    return StepProfile(width, 256, seconds, 10**9, parts)


ROOFLINE = Roofline(
    model="some-model-of-135m",
    num_layers=30,
    device="cpu",
    threads=2,
    load_average=1.25,
    bandwidth=Bandwidth(bytes_per_second=1e11, reader="copy", threads=2),
    profiles={dtype: tuple(map(profile, WIDTHS)) for dtype in ("float32", "bfloat16")},
)


@pytest.mark.parametrize("width", [80, 120])
def test_every_width_fits_into_the_terminal(width):
    said = shown(show_roofline, ROOFLINE, width=width)
    assert max(map(len, said.splitlines())) <= width
    assert "100 GB/s" in said
    assert "2 threads, load 1.2 before" in " ".join(said.split())
    (header, _) = [line.split() for line in said.splitlines() if "tokens together" in line]
    assert header == ["tokens", "together", *map(str, WIDTHS)]


def test_milliseconds_stand_above_the_share_of_what_memory_allows():
    lines = [line.split() for line in shown(show_roofline, ROOFLINE).splitlines()]
    (mlp, *_) = [index for index, line in enumerate(lines) if line[:1] == ["MLP"]]
    assert lines[mlp][1:3] == ["12.3", "24.7"]
    assert lines[mlp + 1][:2] == ["81%", "41%"]
    assert lines[mlp + 2] == ["norms", *["0.10"] * 7]
    assert lines[mlp + 3] == ["rest", *["−0.42"] * 7]
    assert any(line[:5] == ["÷", "one", "token's", "1.00×", "2.03×"] for line in lines)


def test_a_terminal_with_ascii_only_is_served():
    findings = [Finding("hub", "limited", "off", "unset it"), Finding("x", "ok", "1 × 2")]
    said = shown(show_checklist, findings, encoding="ascii") + shown(
        show_roofline, ROOFLINE, encoding="ascii"
    )
    assert "-> unset it" in said
    assert "1 x 2" in said
    assert "/ one token's" in said


def test_each_finding_is_shown_as_soon_as_it_is_there():
    stream = io.StringIO()
    console = Console(file=stream, width=80)

    def findings():
        yield Finding("first", "ok", "fine")
        assert "first" in stream.getvalue()
        yield Finding("second", "missing", "[red]gone[/] \x1b[31m", "fetch it")

    assert [found.name for found in show_checklist(console, findings())] == ["first", "second"]
    assert "[red]gone[/]" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert "MISSING  second" in stream.getvalue()
