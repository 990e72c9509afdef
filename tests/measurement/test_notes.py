import pytest

from lsbench.measurement.notes import about_ceiling
from lsbench.metrics import Ceiling


@pytest.mark.parametrize(("reached", "doubted"), [(0.9, False), (1.1, False), (2.78, True)])
def test_more_than_the_work_left_out_could_give_is_doubted(reached, doubted):
    said = about_ceiling("dynamic_skip", Ceiling(speedup=1.14, achieved_fraction=reached))
    assert bool(said) == doubted
    assert not doubted or ("dynamic_skip" in said[0] and "278%" in said[0])


def test_without_a_ceiling_there_is_nothing_to_doubt():
    assert about_ceiling("hf_generate", None) == []
