import pytest

from lsbench.errors import BadInput
from lsbench.execution.plan import Placement, place
from lsbench.spec import RunSpec


def test_one_process_is_placed():
    assert place(RunSpec(strategies=(), tasks=())) == Placement(1, 1, 1)
    assert place(RunSpec(strategies=(), tasks=(), batch_size=4)).batch_size == 4


@pytest.mark.parametrize("field", ["tensor_parallel", "replicas"])
def test_what_cannot_be_placed_is_refused_not_ignored(field):
    flag = "--" + field.replace("_", "-")
    with pytest.raises(BadInput, match=f"{flag} 3"):
        place(RunSpec(strategies=(), tasks=(), **{field: 3}))
