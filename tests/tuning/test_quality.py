"""What a quality floor can be of."""

import pytest

from lsbench.errors import BadInput
from lsbench.evaluation.requests import TaskInfo
from lsbench.tuning.quality import check_metric

TASK = TaskInfo(
    "colours",
    frozenset({"generate"}),
    9,
    ("exact_match", "ter"),
    {"exact_match": True, "ter": False},
    False,
    "1",
)


def test_a_metric_must_be_the_task_s_own_and_the_higher_the_better():
    check_metric("exact_match", [TASK])
    with pytest.raises(BadInput, match=r"--quality of task 'colours'.*'exact_macth'.*'exact_match'"):
        check_metric("exact_macth", [TASK])
    with pytest.raises(BadInput, match=r"--quality ter: less of it is better"):
        check_metric("ter", [TASK])
