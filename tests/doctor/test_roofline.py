import pytest

from lsbench.catalog.progress import SILENT
from lsbench.doctor.roofline import take_roofline
from lsbench.errors import BadInput
from lsbench.execution import bandwidth

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.usefixtures("short_roofline")
def test_every_dtype_has_a_profile_of_every_width(tiny_model):
    found = take_roofline(str(tiny_model), ["float32", "bfloat16", "float32"], "cpu", 1, SILENT)
    assert (found.model, found.num_layers, found.device, found.threads) == ("tiny", 4, "cpu", 1)
    assert list(found.profiles) == ["float32", "bfloat16"]
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        assert [profile.width for profile in found.profiles[dtype]] == [1, 3]
        assert {profile.weight_bytes % size for profile in found.profiles[dtype]} == {0}
    wide, narrow = (found.profiles[dtype][0].weight_bytes for dtype in ("float32", "bfloat16"))
    assert wide == 2 * narrow
    assert found.bandwidth.bytes_per_second > 0


def test_a_misspelt_dtype_is_told_before_anything_is_loaded():
    with pytest.raises(BadInput, match="Did you mean 'bfloat16'"):
        take_roofline("no/such", ["bfloat61"], "cpu", 1, SILENT)


@pytest.mark.usefixtures("short_roofline")
def test_without_room_to_read_it_says_so(tiny_model, monkeypatch):
    monkeypatch.setattr(bandwidth, "measure_bandwidth", lambda device: None)
    with pytest.raises(BadInput, match="no room"):
        take_roofline(str(tiny_model), ["float32"], "cpu", 1, SILENT)
