import time

import pytest

from lsbench.execution.loop_times import loop_times
from lsbench.strategy import Emitted, Strategy

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_a_loop_does_beside_the_model_is_its_own(
    tiny_stack, tiny_tokenizer, request_for, contender, monkeypatch
):
    """Each of five decode steps sleeps 20 ms in a layer, 10 ms in the head and 30 ms outside of both."""
    monkeypatch.setitem(vars(tiny_stack.layers[1]), "forward", lambda *_, **__: time.sleep(0.02))
    monkeypatch.setitem(vars(tiny_stack.head_product), "forward", lambda *_: time.sleep(0.01))

    class Sleepy(Strategy):
        def generate(self, session, request):
            for step in range(request.max_new_tokens):
                for _ in range(1 if step else 9):  # the prefill takes long, and is not decoding
                    session.stack.layers[1](None)
                session.stack.head_product(None)
                time.sleep(0.03)
                yield Emitted((50,), None)

    subject = contender("its_own", Sleepy(Sleepy.Options()))
    found = loop_times(tiny_stack, tiny_tokenizer, subject, request_for(max_new_tokens=6))
    assert found.label == "its_own"
    assert found.layers_s >= 5 * 0.02
    assert found.head_s >= 5 * 0.01
    assert found.decode_s - found.layers_s - found.head_s >= 5 * 0.03
    # Stalls of the machine apart, nothing of the prefill is in it.
    assert found.layers_s < found.decode_s - 5 * 0.03


def test_transformers_loop_is_watched_and_left_as_it_was(tiny_stack, tiny_tokenizer, request_for, contender):
    found = loop_times(tiny_stack, tiny_tokenizer, contender("hf_generate"), request_for(max_new_tokens=8))
    assert 0 < found.head_s < found.layers_s < found.decode_s
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in tiny_stack.model.modules()
    )


def test_a_loop_that_calls_no_layer_has_nothing_to_tell(
    tiny_stack, tiny_tokenizer, request_for, contender, scripted
):
    made = contender("its_own", scripted(*(Emitted((50,), None) for _ in range(4))))
    assert loop_times(tiny_stack, tiny_tokenizer, made, request_for(max_new_tokens=4)) is None
