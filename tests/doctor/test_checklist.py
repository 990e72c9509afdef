from lsbench.doctor.checklist import CHECKS, examine
from lsbench.doctor.finding import Finding


def test_a_check_that_fails_is_a_finding_and_the_others_go_on():
    def breaks():
        raise OSError("libgone.so:\n cannot open")

    one, two = Finding("one", "ok", "fine"), Finding("two", "ok", "fine")
    found = list(examine((("broken", breaks), ("one", lambda: one), ("many", lambda: [one, two]))))
    assert found[0] == Finding("broken", "missing", "cannot be looked at: OSError: libgone.so: cannot open")
    assert found[1:] == [one, one, two]


def test_everything_is_looked_at_and_named_as_listed():
    found = list(examine())
    assert {finding.name for finding in found} == {name for name, _ in CHECKS}
    assert all(finding.detail for finding in found)
    assert all(finding.advice for finding in found if finding.status == "limited")
