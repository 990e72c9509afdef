import io
import re

import pytest
from rich.console import Console

from lsbench.metrics import Ceiling, Remainder, Speculation, Speedup
from lsbench.report.facts import RunFacts
from lsbench.report.table import run_table


def shown(metrics, width=80, facts=None) -> str:
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(run_table(metrics, facts))
    return console.export_text()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(metrics_of, slower, scores_only, width):
    text = shown(metrics_of(slower, scores_only, notes=("x" * 300,)), width)
    assert max(len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_every_figure_stands_beside_its_name(metrics_of, slower, width):
    lines = shown(metrics_of(slower), width).splitlines()
    for name, *cells in [
        ("speedup", "1×", "0.93× (0.91–0.95)"),
        ("end-to-end speedup", "1×", "0.94× (0.92–0.96)"),
        ("tokens/s", "25.1", "23.4"),
        ("time to first token", "121 / 310 ms", "122 / 320 ms"),
        ("time per token", "39.8 / 42.1 ms", "42.8 / 45.1 ms"),
        ("layers per token", "30", "24.3 of 30 (81%)"),
        ("humaneval pass@1", "0.000 ± 0.000", "0.000 ± 0.000"),
        ("humaneval_bpb bits_per_byte ↓", "0.612 ± 0.020", "0.701 ± 0.030"),
        ("token agreement", "—", "71% (69–73%)"),
        ("identical outputs", "—", "1 of 8"),
    ]:
        (line,) = [line for line in lines if line.strip().startswith(name + "  ")]
        assert re.split(r"\s{2,}", line.strip()) == [name, *cells]
    assert [
        line.strip() for line in lines if line.strip() in {"slower", "worse", "cannot tell them apart"}
    ] == [
        "slower",
        "cannot tell them apart",
        "worse",
    ]


def test_the_verdict_comes_first_and_doubt_last(metrics_of, slower):
    facts = RunFacts(notes=("Generated code was confined by limits only.",))
    text = words(shown(metrics_of(slower, notes=("Two halves differ by 20%.",)), facts=facts))
    verdict, table = text.index("dynamic_skip: slower here, 0.93× (0.91–0.95)"), text.index("How fast")
    doubt = text.index("Believe it? Know this first:")
    assert verdict < table < doubt < text.index("differ by 20%") < text.index("confined by limits only.")
    assert "because the baseline solves 0 of 8" in text


def test_a_run_without_doubts_says_that_too(metrics_of, scores_only):
    assert "Nothing was seen that speaks against these figures." in words(shown(metrics_of(scores_only)))


def test_without_generation_there_are_no_speed_rows(metrics_of, scores_only):
    metrics = metrics_of(
        scores_only, tokens_per_second=None, ttft_s=None, tpot_s=None, generated_tokens=0, memory=None
    )
    text = shown(metrics)
    assert "How fast" not in text
    assert "None" not in text
    assert "bits_per_byte" in text


def test_not_every_strategy_fits_beside_the_others(metrics_of, slower):
    strategies = [
        slower.model_copy(
            update={
                "label": f"static_exit:exit_layer={i}",
                "name": "static_exit",
                "options": {"exit_layer": i},
            }
        )
        for i in range(10, 15)
    ]
    narrow, wide = shown(metrics_of(*strategies), 80), shown(metrics_of(*strategies), 180)
    assert narrow.count("How fast") == 5
    assert wide.count("How fast") == 1
    for text in (narrow, wide):
        for i in range(10, 15):
            assert f"exit_layer={i} " in text.replace("\n", " ")


def test_speculation_rows_appear_where_something_was_drafted(metrics_of, slower):
    assert "drafts accepted" not in shown(metrics_of(slower))
    drafted = Speculation(
        drafted=1200, accepted=900, acceptance_rate=0.75, mean_accepted_length=3.2, verify_passes=400
    )
    text = words(shown(metrics_of(slower.model_copy(update={"speculation": drafted}))))
    assert "drafts accepted — 75% (900 of 1,200)" in text
    assert "tokens per full pass — 3.20" in text


def test_an_outside_baseline_cannot_tell_its_layers(metrics_of, slower):
    text = words(shown(metrics_of(slower, strategy="hf_generate")))
    assert "layers per token — 24.3 of 30" in text


def test_colour_only_repeats_the_words(metrics_of, with_speedup):
    faster = with_speedup(Speedup(value=1.21, ci95=(1.18, 1.24), verdict="faster"))
    plain = Console(width=80, file=io.StringIO(), no_color=True)
    plain.print(run_table(metrics_of(faster)))
    assert "faster" in plain.file.getvalue()
    assert "\x1b" not in plain.file.getvalue()


def test_markup_and_escape_sequences_in_names_do_nothing(metrics_of, slower):
    hostile = slower.model_copy(update={"tasks": {"[red]t\x1b[2J[/red]": slower.tasks["humaneval_bpb"]}})
    text = shown(metrics_of(hostile, notes=("[/nonsense] [link=x]y",)), 160)
    assert "[red]t[/red]" in text
    assert "[/nonsense] [link=x]y" in text
    assert "\x1b" not in text


def test_a_terminal_with_ascii_only_is_served(metrics_of, slower):
    buffer = io.BytesIO()
    console = Console(width=80, file=io.TextIOWrapper(buffer, encoding="ascii"))
    console.print(run_table(metrics_of(slower)))
    console.file.flush()
    text = buffer.getvalue().decode("ascii")
    assert "0.93x (0.91-0.95)" in text
    assert "?" not in text.replace("Believe it?", "")


def test_where_the_ceilings_rest_went_is_one_row(metrics_of, slower):
    def row(remainder):
        ceiling = Ceiling(speedup=1.5, achieved_fraction=0.6, remainder=remainder)
        return words(shown(metrics_of(slower.model_copy(update={"ceiling": ceiling})), 200))

    parts = Remainder(checks=0.25, kv_fill=0.04, sampling=0, other=0.11)
    assert "where the rest went — checks 25%, KV fill 4%, Python and other 11%" in row(parts)
    assert "Python and other −5%" in row(parts.model_copy(update={"other": -0.05}))
    assert "where the rest went" not in row(None)
