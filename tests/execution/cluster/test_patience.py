"""How long a replica may be silent."""

import pytest

from lsbench.execution.cluster.patience import Patience, WakingClock
from lsbench.execution.turns import Turn
from lsbench.records import SampleRecord, StepCost
from lsbench.spec import GenerateRequest, ScoreRequest, ScoreWindow

REQUEST = GenerateRequest(
    task="t", doc_id=0, arguments_sha256="0", prompt="p", prompt_tokens=(1, 2, 3), max_new_tokens=7
)


def test_a_turn_may_take_many_times_what_its_tokens_should():
    patience = Patience(least_s=5, times=3, token_s=0.1)
    assert patience.seconds(Turn(0, (REQUEST,))) == pytest.approx(5 + 3 * 0.1 * 10)
    assert patience.seconds(Turn(0, (REQUEST, REQUEST), 0, 2)) == pytest.approx(5 + 3 * 0.1 * 20)
    window = ScoreWindow(context=(1, 2), continuation=(3,))
    scored = ScoreRequest(
        task="t", doc_id=0, arguments_sha256="0", prompt="", target="", windows=(window, window)
    )
    assert patience.seconds(Turn(0, (scored,))) == pytest.approx(5 + 3 * 0.1 * 6)


def test_it_learns_how_slow_tokens_are_and_never_grows_shorter():
    patience = Patience(least_s=0, times=1, unseen_s=2)
    assert patience.seconds(Turn(0, (REQUEST,))) == pytest.approx(2 * 10)
    cost = StepCost(width=2, context=8, layer_s=0.1, attention_s=None, mlp_s=None, head_s=0.2, fixed_s=0.2)
    patience.measured([cost], num_layers=16)
    assert patience.token_s == pytest.approx(1.0)
    common = {"schema": 1, "strategy": "s", "options": {}, "label": "s", "task": "t", "doc_id": 0}
    common |= {"kind": "generate", "arguments_sha256": "0", "prompt": "p", "prompt_tokens": 3}
    patience.saw(SampleRecord(**common, token_ids=(1, 2, 3), decode_s=1.0))
    assert patience.token_s == pytest.approx(1.0)
    patience.saw(SampleRecord(**common, token_ids=(1, 2, 3), decode_s=8.0))
    assert patience.token_s == pytest.approx(4.0)
    patience.saw(SampleRecord(**common, error="failed"))
    assert patience.token_s == pytest.approx(4.0)


def test_time_in_which_the_driver_slept_is_no_silence():
    times = iter([100.0, 100.25, 100.5, 4100.5, 4100.75])
    clock = WakingClock(lambda: next(times))
    passed = [clock.now_s() for _ in range(4)]
    assert passed == [0.25, 0.5, 1.5, 1.75]
