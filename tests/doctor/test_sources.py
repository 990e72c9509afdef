import pytest
from huggingface_hub import constants

from lsbench.doctor import sources


def test_what_is_not_prepared_is_told_and_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("LSBENCH_CACHE", str(tmp_path))
    for found in (sources.embedded_model(), sources.data()):
        assert found.status == "limited"
        assert "not prepared" in found.detail
    assert list(tmp_path.iterdir()) == []


def test_what_stands_ready_is_ok(tmp_path, monkeypatch):
    monkeypatch.setattr("lsbench.catalog.prepared_model", lambda name: tmp_path)
    monkeypatch.setattr("lsbench.catalog.prepared_data", lambda name: tmp_path)
    assert sources.embedded_model().status == sources.data().status == "ok"


@pytest.mark.parametrize(("offline", "status"), [(True, "limited"), (False, "ok")])
def test_a_hub_that_is_switched_off_is_told(monkeypatch, offline, status):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    found = sources.hub()
    assert found.status == status
    assert ("HF_HUB_OFFLINE" in found.detail) is offline
