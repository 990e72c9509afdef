"""``inspect.html``: a look inside a model as one page that loads nothing and can be mailed."""

from __future__ import annotations

from pathlib import Path

from lsbench.errors import BadInput
from lsbench.insight.outcome import BASIS, PAGE, Inspection
from lsbench.report.figures import ratio, share, significant
from lsbench.report.inspect_charts import agreement_chart, influence_chart, lens_chart, similarity_chart
from lsbench.report.plain import one_line
from lsbench.report.plotly_page import plotly_script, script_policy
from lsbench.report.templates import environment
from lsbench.store.atomic import write_atomically

_EXIT_COLUMNS = ("exit", "own final token", "every token exits there", "best draft", "its speed")
_SKIP_COLUMNS = ("weights left out", "tokens kept", "every token so", "best draft", "its speed")


def write_page(inspection: Inspection, folder: Path) -> Path:
    """Write the page into a folder.

    Raises:
        BadInput: the folder cannot be written to.
    """
    path = folder / PAGE
    try:
        write_atomically(path, inspect_page(inspection))
    except OSError as error:
        raise BadInput(f"Cannot write {path}: {error.strerror or error}.") from error
    return path


def inspect_page(inspection: Inspection) -> str:
    """The page as text, about 2 MB of it the chart library."""
    model = inspection.model
    return (
        environment()
        .get_template("inspect.html.j2")
        .render(
            inspection=inspection,
            model=one_line(f"{model.id}, {model.num_layers} layers, {model.dtype} on {model.device}"),
            basis=BASIS,
            lenses=[lens_chart(inspection, number) for number in range(len(inspection.texts))],
            texts=inspection.texts,
            about_layers=[
                agreement_chart(inspection),
                influence_chart(inspection),
                similarity_chart(inspection),
            ],
            tables=[
                ("Exits, and exits as drafts", _EXIT_COLUMNS, _exits(inspection)),
                ("Sub-layers of least influence left out", _SKIP_COLUMNS, _skips(inspection)),
            ],
            left_out=[(share(rung.weight_share), ", ".join(rung.items)) for rung in inspection.skips],
            policy=script_policy(),
            library=plotly_script(),
        )
    )


def _exits(inspection: Inspection) -> list[tuple[str, ...]]:
    return [
        (
            f"layer {each.layer}",
            share(inspection.layer(each.layer).agreement),
            f"at most {ratio(each.speedup)}",
            f"{each.draft.num_speculations} a cycle, {share(each.draft.acceptance)} taken",
            ratio(each.draft.speedup),
        )
        for each in inspection.exits
    ]


def _skips(inspection: Inspection) -> list[tuple[str, ...]]:
    return [
        (
            share(rung.weight_share),
            share(rung.agreement),
            ratio(rung.speedup),
            f"{rung.draft.num_speculations} a cycle, {share(rung.draft.acceptance)} taken, "
            f"{significant(rung.draft.tokens_per_cycle)} tokens each",
            ratio(rung.draft.speedup),
        )
        for rung in inspection.skips
    ]
