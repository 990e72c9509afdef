"""One exit for every token, and what each option of it does."""

import numpy as np
import pytest
import torch

from lsbench.engine.cache import APPROXIMATE, EXACT, MASKED, PENDING
from lsbench.spec import ScoreWindow

WINDOW = ScoreWindow(context=(5, 17, 3), continuation=(44, 8, 21, 9))


@pytest.mark.parametrize("exit_layer", [1, 3, 6])
def test_exit_layer_is_how_many_layers_run(bench, exit_layer: int) -> None:
    output = bench.run(f"static_exit:exit_layer={exit_layer}", count=5)
    assert output.depths == (6.0, *(float(exit_layer),) * 4)


def test_every_exit_layer_predicts_otherwise(bench) -> None:
    from lsbench.engine import Session

    scores = set()
    for exit_layer in range(1, 7):
        strategy = bench.make(f"static_exit:exit_layer={exit_layer}")
        scores.add(strategy.score(Session(bench.stack), WINDOW).logprobs[1:])
    assert len(scores) == 6


def test_the_prediction_is_final_norm_and_head_on_the_hidden_state_at_the_exit(bench) -> None:
    from lsbench.engine import Session

    tokens = (*WINDOW.context, *WINDOW.continuation)
    model = bench.stack.model
    with torch.inference_mode():
        # Up to the exit a token sees only what stopped no earlier than itself: a full pass's own states.
        hidden = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[3][0]
        expected = torch.log_softmax(model.lm_head(model.model.norm(hidden)), -1)
    scored = bench.make("static_exit:exit_layer=3").score(Session(bench.stack), WINDOW)
    start = len(WINDOW.context)
    picked = [float(expected[start + i - 1, token]) for i, token in enumerate(WINDOW.continuation)]
    assert np.allclose(scored.logprobs[1:], picked[1:], rtol=0, atol=1e-9)


def test_at_the_last_layer_it_is_the_full_model(bench) -> None:
    assert bench.run("static_exit:exit_layer=6").tokens == bench.run("autoregressive").tokens
    assert bench.run("static_exit:exit_layer=5").tokens != bench.run("autoregressive").tokens


def test_kv_fill_decides_how_the_cache_is_kept_and_leaves_the_output_alone(bench) -> None:
    """As its help says: nothing decoded goes deeper than the exit, so nothing reads what was left out."""
    states, outputs = {}, set()
    for fill in ("recompute", "propagate", "mask"):
        output = bench.run(f"static_exit:exit_layer=3,kv_fill={fill}", count=6)
        cache = output.session.cache
        # Positions 0..6 are the prompt; five tokens were decoded. Layers are counted from 0 here.
        states[fill] = cache.state[0, 7:12, 3:]
        assert (cache.state[0, 7:12, :3] == EXACT).all()
        assert (cache.state[0, :7] == EXACT).all()
        outputs.add(output.tokens)
    assert (states["recompute"] == PENDING).all()
    assert (states["mask"] == MASKED).all()
    # The first layer left out is entered by an exact hidden state.
    assert (states["propagate"][:, 0] == EXACT).all()
    assert (states["propagate"][:, 1:] == APPROXIMATE).all()
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("static_exit", "--strategy static_exit: exit_layer is required (the last layer that runs, 1..L, or"),
        ("static_exit:exit_layer=7", "exit_layer names layer 7, but the model has 1..6"),
        ("static_exit:exit_layer=0", "exit_layer must be online or a whole number of at least 1, not 0"),
        ("static_exit:exit_layer=onlin", "at least 1, not onlin. Did you mean online?"),
        (
            "static_exit:exit_layer=true",
            "exit_layer must be online or a whole number of at least 1, not true",
        ),
        (
            "static_exit:exit_layer=online",
            "exit_layer=online follows what verifying passes see, so only a draft can have it: "
            "self_speculative:draft=static_exit,draft.exit_layer=online",
        ),
        (
            "static_exit:exit_layer=4,kv_fill=propogate",
            "kv_fill must be recompute, propagate or mask, not propogate. Did you mean propagate?",
        ),
    ],
)
def test_refuses_in_a_line(refusal, text: str, says: str) -> None:
    assert says in refusal(text)
