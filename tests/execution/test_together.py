"""A batch in a strategy's own loop or in turns: timed as one, each sequence ended by its own conditions."""

import time
from typing import ClassVar

import pytest

from lsbench.execution.generation import BrokenStrategy
from lsbench.execution.together import generate_together
from lsbench.strategy import Emitted, Strategy

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(tiny_stack, tiny_tokenizer):
    return lambda strategy, requests: generate_together(tiny_stack, tiny_tokenizer, strategy, requests)


class Clockwork(Strategy):
    """A step takes a tick, and gives a token to everyone: its number after the prompt's last."""

    now: ClassVar[list[int]] = [0]

    def generate_together(self, members):
        for step in range(1, 100):
            self.now[0] += 10
            for place, member in enumerate(members):
                yield place, Emitted((member.request.prompt_tokens[-1] + step,), (4.0,))


class Alone(Clockwork):
    batchable = False

    def generate(self, session, request):
        for step in range(1, 100):
            self.now[0] += 10
            yield Emitted((request.prompt_tokens[-1] + step,), None)


@pytest.fixture
def ticking(monkeypatch):
    monkeypatch.setattr(time, "perf_counter_ns", lambda: Clockwork.now[0])
    return lambda strategy: strategy(strategy.Options())


def timings(run, strategy, requests):
    """What came out in order: place, ids, and ticks to the first token and after it."""
    made = []
    for place, result in run(strategy, requests):
        made.append((place, result.token_ids, round(result.ttft_s * 1e8), round(result.decode_s * 1e8)))
        Clockwork.now[0] += 10_000  # however long its record takes, the others' clock stands still
    return made


def test_one_clock_runs_for_a_loop_and_stands_still_while_a_result_is_dealt_with(run, request_for, ticking):
    requests = [request_for((50,), 3), request_for((60,), 1), request_for((70,), 2)]
    assert timings(run, ticking(Clockwork), requests) == [
        (1, (61,), 1, 0),
        (2, (71, 72), 1, 1),
        (0, (51, 52, 53), 1, 2),
    ]


def test_who_takes_turns_waits_for_the_others(run, request_for, ticking):
    requests = [request_for((50,), 3), request_for((60,), 1), request_for((70,), 2)]
    assert timings(run, ticking(Alone), requests) == [
        (1, (61,), 2, 0),
        (2, (71, 72), 3, 2),
        (0, (51, 52, 53), 1, 5),
    ]


@pytest.mark.parametrize("strategy", [Clockwork, Alone])
def test_each_ends_by_its_own_stop_conditions(run, request_for, tiny_tokenizer, strategy):
    text = tiny_tokenizer.decode([63])
    requests = [
        request_for((50,), 9, stop_token_ids=(54,)),
        request_for((60,), 9, stop_strings=(text,)),
        request_for((60,), 5, stop_token_ids=(54,)),
    ]
    made = dict(run(strategy(strategy.Options()), requests))
    assert [made[place].token_ids for place in range(3)] == [
        (51, 52, 53, 54),
        (61, 62, 63),
        (61, 62, 63, 64, 65),
    ]
    assert [made[place].stop_reason for place in range(3)] == ["eos", "stop_string", "max_new_tokens"]
    assert made[1].text == tiny_tokenizer.decode([61, 62])
    assert made[0].layers_run == ((4.0,) * 4 if strategy is Clockwork else None)
    assert {one.kv_bytes for one in made.values()} == {None}


def test_what_one_breaks_is_its_own_failure(run, request_for):
    class Strange(Alone):
        def generate(self, session, request):
            for place, emission in enumerate(super().generate(session, request)):
                if request.doc_id == 1 and place == 2:
                    yield Emitted((-1,), None)
                if request.doc_id == 2 and place == 1:
                    return
                if request.doc_id == 3:
                    raise MemoryError("no room")
                yield emission

    requests = [request_for((50,), 4, doc_id=doc) for doc in range(4)]
    made = dict(run(Strange(Strange.Options()), requests))
    assert made[0].token_ids == (51, 52, 53, 54)
    assert [type(made[place]) for place in (1, 2, 3)] == [BrokenStrategy, BrokenStrategy, MemoryError]
    assert "token -1" in str(made[1])
    assert "ended after 1 token with" in str(made[2])


def test_a_loop_that_leaves_one_out_is_told(run, request_for):
    class Forgets(Clockwork):
        def generate_together(self, members):
            for step in range(1, 6):
                yield 0, Emitted((50 + step,), None)

    made = dict(run(Forgets(Forgets.Options()), [request_for((50,), 3), request_for((60,), 3)]))
    assert made[0].token_ids == (51, 52, 53)
    assert "ended after 0 tokens with no stop condition met" in str(made[1])


def test_nobody_is_a_batch_too(run):
    assert list(run(Clockwork(Clockwork.Options()), [])) == []
