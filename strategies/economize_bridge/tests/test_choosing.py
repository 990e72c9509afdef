import pytest
import torch
from lsbench_economize.choosing import Drawing, Following

from lsbench.engine import probabilities
from lsbench.strategy import Sampling

SAMPLING = Sampling(temperature=0.7, top_p=0.8, top_k=3)


def test_draws_follow_the_request():
    """Temperature, top-k and top-p are lsbench's own, and a seed draws the same again."""
    logits = torch.tensor([0.1, 2.0, 1.5, -1.0, 1.2])
    counts = torch.bincount(Drawing(SAMPLING, 7).select_many(logits.expand(4000, 5)), minlength=5) / 4000
    assert torch.allclose(counts, probabilities(logits, SAMPLING), atol=0.03)
    assert counts[0] == counts[3] == 0
    again = [Drawing(SAMPLING, 5)(logits, logits) for _ in range(4)]
    assert len(set(again)) == 1


def test_a_continuation_is_followed_and_what_would_have_been_chosen_is_kept():
    following = Following([2, 0], None)
    rows = torch.tensor([[0.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    assert [following(row, row) for row in rows] == [2, 0]
    assert following.choices == [1, 0]
    wanted = torch.log_softmax(rows, -1)
    assert following.logprobs == pytest.approx([float(wanted[0, 2]), float(wanted[1, 0])])
