"""A strategy that cannot run on this model or machine is a row that says why; the others run."""

import json

import pytest

from lsbench import pipeline
from lsbench.errors import EXIT_DONE, CannotRun
from lsbench.report.latex import run_latex
from lsbench.report.live import LiveView
from lsbench.report.tidy_csv import run_csv
from lsbench.strategy import Strategy
from support.runs import go

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

WHY = {"unfitting": "no tiny models, please", "unequipped": "needs an abacus, which is not installed"}


class Unequipped(Strategy):
    """Lacks something on this machine."""

    lossless = True

    def prepare(self, preparation):
        raise CannotRun(WHY["unequipped"])

    def policy(self, request):
        raise AssertionError("it runs nevertheless")


class Unfitting(Unequipped):
    """Does not know the model."""

    def check_model(self, model_type):
        raise CannotRun(WHY["unfitting"])

    def prepare(self, preparation):
        raise AssertionError("it is prepared nevertheless")


@pytest.fixture(autouse=True)
def _registered(register):
    register("unequipped", Unequipped)
    register("unfitting", Unfitting)


def test_others_run_and_every_format_says_why(spec_for):
    asked = ("unfitting", "static_exit:exit_layer=3", "unequipped")
    outcome = go(spec_for(*asked, tasks=("tiny_choice",), limit=1))
    assert outcome.exit_code == EXIT_DONE
    assert outcome.metrics.status == "complete"
    written = json.loads((outcome.folder.path / "metrics.json").read_text())["strategies"]
    assert [(row["name"], row["unavailable"]) for row in written] == [
        ("unfitting", WHY["unfitting"]),
        ("static_exit", None),
        ("unequipped", WHY["unequipped"]),
    ]
    assert {tuple(row) for row in written} == {tuple(written[0])}  # no key is ever missing
    assert (written[0]["tasks"], written[0]["speed"], written[0]["lossless"]) == ({}, None, True)
    assert {record.strategy for record in outcome.folder.records()} == {"autoregressive", "static_exit"}
    report = (outcome.folder.path / "report.md").read_text()
    page = (outcome.folder.path / "report.html").read_text()
    for name, why in WHY.items():
        assert f"cannot run here: {why}" in run_csv(outcome.metrics)
        assert f"{name} cannot run here: {why}." in run_latex(outcome.metrics)
        assert f"{name}: cannot run here: {why}." in report
        assert f"{name}: cannot run here: {why}." in page
    # What is scored again later knows it, too.
    again = pipeline.rescore(outcome.folder, LiveView(quiet=True))
    assert again.metrics.strategies[2].unavailable == WHY["unequipped"]


@pytest.mark.parametrize("name", ["unfitting", "unequipped"])
def test_where_nothing_else_is_left_the_run_is_refused(name, spec_for, tmp_path):
    with pytest.raises(CannotRun, match=f"{name} cannot run here: {WHY[name]}"):
        go(spec_for(name, tasks=("tiny_choice",), output=str(tmp_path / "runs")))
    assert list((tmp_path / "runs").iterdir()) == []
