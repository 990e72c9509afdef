"""What a session counts besides the layers of new tokens, against counts made by hand."""

import torch

from lsbench.engine import DepthPlan, DepthPolicy, Session
from lsbench.engine.random_model import random_stack

LAYERS = 4
FULL = DepthPlan.full(LAYERS)


def plan(exit_layer: int, kv_fill: str) -> DepthPlan:
    return DepthPlan((True,) * (2 * exit_layer) + (False,) * (2 * (LAYERS - exit_layer)), kv_fill)


def ids(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def session() -> Session:
    made = Session(random_stack(LAYERS))
    made.prefill(ids(1, 2, 3))
    return made


def counts(made: Session) -> dict[str, int]:
    return vars(made.tally)


NOTHING = {"checks": 0, "spare_heads": 0, "filled": 0, "older_rows": 0, "own_passes": 0, "ridden": 0}


def test_full_depth_does_nothing_besides():
    made = session()
    made.forward(ids(4, 5), FULL)
    made.truncate(4)
    made.verify(ids(6, 7))
    assert counts(made) == NOTHING


def test_every_layer_left_out_is_filled_once_for_each_position():
    made = session()
    made.forward(ids(4), plan(3, "propagate"))
    made.forward(ids(5, 6), plan(2, "propagate"))
    made.forward(ids(7), plan(1, "mask"))
    assert counts(made) == NOTHING | {"filled": 1 + 2 * 2}


def test_positions_left_pending_run_what_they_lack_later():
    made = session()
    made.forward(ids(4), plan(3, "recompute"))
    assert counts(made) == NOTHING
    # It rides along where its plan ended, beside the new token: the last layer's two sub-layers.
    made.forward(ids(5), FULL)
    assert counts(made) == NOTHING | {"older_rows": 2, "ridden": 2}


def test_several_that_ride_together_are_one_sublayer_each_that_is_ridden():
    made = session()
    made.forward(ids(4), plan(3, "recompute"))
    made.forward(ids(5), plan(2, "recompute"))
    # From layer 3 on the second of them, and in layer 4 both.
    made.forward(ids(6), FULL)
    assert counts(made) == NOTHING | {"older_rows": 2 + 2 * 2, "ridden": 4}


def test_a_gap_is_made_up_for_without_a_new_token_beside():
    made = session()
    made.forward(ids(4), plan(1, "recompute"))
    skipping = DepthPlan((True, True, False, False, True, True, True, True), "mask")
    # Layer 2 is left out by the new token, so the older one runs it alone, then layers 3 and 4 with it.
    made.forward(ids(5), skipping)
    assert counts(made) == NOTHING | {"older_rows": 2 + 4, "own_passes": 2, "ridden": 4}


class Looking(DepthPolicy):
    """Looks after layers 1 to 3, reads logits at two of them, and stops at the third."""

    def check_layers(self, num_layers):
        return (1, 2, 3)

    def should_exit(self, layer, exit_view):
        if layer == 2:
            return exit_view.cosine > 2
        return bool(exit_view.logits.isfinite().all()) and layer == 3


def test_a_head_is_spare_where_the_token_goes_on():
    made = session()
    made.forward(ids(4), Looking())
    assert counts(made) == NOTHING | {"checks": 3, "spare_heads": 1}
