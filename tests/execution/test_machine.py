import pytest
import torch

from lsbench.execution.machine import devices, use_threads


@pytest.mark.usefixtures("one_thread")
def test_threads_are_set_only_when_asked():
    assert use_threads(None) == 1
    assert use_threads(2) == 2
    assert torch.get_num_threads() == 2


def test_a_cpu_is_no_accelerator():
    assert devices("cpu") == ()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_an_accelerator_is_named():
    assert devices("cuda") == (torch.cuda.get_device_name(0),)
