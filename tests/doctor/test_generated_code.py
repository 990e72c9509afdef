from lsbench.doctor.generated_code import sandbox
from lsbench.errors import SandboxUnavailable
from lsbench.evaluation.sandbox import MECHANISMS, Sandbox


def test_what_works_here_is_named():
    found = sandbox()
    assert found.detail.split(",")[0] in MECHANISMS or found.status == "limited"
    assert found.status in ("ok", "limited")


def test_limits_alone_are_little(monkeypatch):
    monkeypatch.setattr(Sandbox, "detect", lambda: Sandbox("limits"))
    found = sandbox()
    assert found.status == "limited"
    assert "bubblewrap" in found.advice


def test_nothing_at_all_stops_a_run(monkeypatch):
    def refuse():
        raise SandboxUnavailable("nothing works here")

    monkeypatch.setattr(Sandbox, "detect", refuse)
    assert (sandbox().status, sandbox().detail) == ("missing", "nothing works here")
