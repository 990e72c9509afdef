"""LaTeX that compiles: every sign escaped, every row whole."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from lsbench.report.facts import RunFacts
from lsbench.report.latex import run_latex, tex

NASTY = "a_b%c&d#e$f{g}h~i^j\\k<l>m|n\"o[p]*q`r' é ñ ß 漢 😀 --- 1×2 −3 ±4 “x” ½"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("static_exit:exit_layer=20", "static\\_exit:exit\\_layer=20"),
        ("71% (69–73%)", "71\\% (69--73\\%)"),
        ("\\input{/etc/passwd}", "\\textbackslash{}input\\{/etc/passwd\\}"),
        ("--flag", "-{}-flag"),
        ("[0.9] *", "{[}0.9{]} {*}"),
        ("x^2 ~ $y$", "x\\textasciicircum{}2 \\textasciitilde{} \\$y\\$"),
        ("−0.5 ± 0.1, 1.2×", "$-$0.5 $\\pm$ 0.1, 1.2$\\times$"),
        ("naïve Ångström", 'na\\"{i}ve \\r{A}ngstr\\"{o}m'),
        ("漢 ﬁ", "? fi"),
        ("two\nlines\x1b[31m", "two lines"),
    ],
)
def test_signs_that_mean_something_are_escaped(text: str, written: str):
    assert tex(text) == written


@pytest.fixture
def table(metrics_of, slower) -> str:
    nasty = slower.model_copy(update={"label": f"mine:{NASTY}"})
    facts = RunFacts(
        machine=(("processor", "AMD EPYC, 2 cores"), ("threads", "2")), versions=(("torch", "2.13"),)
    )
    return run_latex(metrics_of(slower, nasty), facts)


def test_a_run_is_one_table_with_its_machine_in_the_caption(table: str):
    assert table.startswith("% In the preamble: \\usepackage{booktabs}\n\\begin{table}\n")
    assert "30 layers, float32; n = 8 prompts; AMD EPYC, 2 cores; threads: 2; torch 2.13;" in table
    assert (
        "& \\begin{tabular}[t]{@{}l@{}}0.93$\\times$ \\\\ (0.91--0.95) \\\\ slower\\end{tabular} &" in table
    )
    assert "humaneval\\_bpb" in table


def test_every_row_is_whole(table: str):
    body = table.split("\\toprule")[1].split("\\bottomrule")[0]
    nested = re.sub(r"\\begin\{tabular\}.*?\\end\{tabular\}", "cell", body)
    rows = [row for row in nested.splitlines() if row.endswith("\\\\")]
    assert len(rows) == 4
    assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
    for begun in ("table", "tabular"):
        assert table.count(f"\\begin{{{begun}}}") == table.count(f"\\end{{{begun}}}")
    bare = re.sub(r"\\[\\{}]", "", table)
    assert bare.count("{") == bare.count("}")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_it_compiles(table: str, tmp_path):
    page = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + table + "\\end{document}\n"
    (tmp_path / "page.tex").write_text(page)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
