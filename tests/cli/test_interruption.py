import signal

import pytest

from lsbench.cli.interruptible_view import InterruptibleView
from lsbench.cli.interruption import interruptible


def _swallowed(number: int) -> None:
    """As a library may, whose code runs when the signal comes."""
    try:
        signal.raise_signal(number)
    except BaseException:
        return


@pytest.fixture(autouse=True)
def _heard():
    """A shell starts what runs in the background with Ctrl-C ignored, and then lsbench leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_others_swallow_stops_a_run(cli, run_of, monkeypatch, number):
    from lsbench.evaluation import requests

    build = requests.build_requests

    def deaf(*given):
        _swallowed(number)
        return build(*given)

    monkeypatch.setattr(requests, "build_requests", deaf)
    said = cli(*run_of("tiny_generate", "-s", "static_exit:exit_layer=2"))
    assert said.code == 130
    assert "Traceback" not in said.err


def test_it_is_forgotten_by_the_next_command():
    with interruptible():
        _swallowed(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            InterruptibleView(quiet=True).stage("Reading tasks")
    with interruptible():
        InterruptibleView(quiet=True).stage("Reading tasks")


def test_ctrl_c_is_ignored_where_it_is_to_be():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
