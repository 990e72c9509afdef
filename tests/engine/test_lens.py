from __future__ import annotations

import numpy as np
import torch

from lsbench.engine.lens import Lens, cosines, lens_of, similarity

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


def _states(tiny):
    """[L] hidden states [T, D] after each layer of transformers' own model, the last one before its norm."""
    seen: list[torch.Tensor] = []
    hook = tiny.outside.model.norm.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    with torch.inference_mode():
        made = tiny.outside(torch.tensor([TOKENS]), output_hidden_states=True, use_cache=False)
    hook.remove()
    # transformers gives the last one after the norm.
    return [state[0] for state in made.hidden_states[1:-1]] + seen, made.logits[0]


def test_the_lens_is_norm_and_head_on_transformers_hidden_states(each_tiny):
    states, logits = _states(each_tiny)
    lens = lens_of(each_tiny.stack, states)
    model = each_tiny.outside
    for layer, state in enumerate(states):
        expected = torch.softmax(model.lm_head(model.model.norm(state)), dim=-1)
        most, choices = expected.max(dim=-1)
        np.testing.assert_array_equal(lens.choices[layer], choices.numpy())
        np.testing.assert_allclose(lens.chances[layer], most.detach().numpy(), atol=1e-12)
    np.testing.assert_array_equal(lens.choices[-1], logits.argmax(-1).numpy())
    assert (lens.choices[0] != lens.choices[-1]).any()


def test_first_reached_and_first_kept_by_hand():
    choices = np.array([[7, 5, 1, 2], [7, 5, 2, 2], [8, 5, 3, 1], [7, 5, 2, 2], [7, 5, 9, 2]])
    lens = Lens(choices, np.ones(choices.shape))
    assert lens.reached.tolist() == [1, 1, 5, 1]
    assert lens.kept.tolist() == [4, 1, 5, 4]
    assert lens.agrees[2].tolist() == [False, True, False, False]


def test_cosines_by_hand():
    hidden = torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[0.0, 2.0], [2.0, 2.0]], [[0.0, -1.0], [3.0, 0.0]]])
    np.testing.assert_allclose(cosines(hidden), [[0, 1], [-1, 0.5**0.5]], atol=1e-7)
    expected = [[1, 0.5, 0.5**1.5], [0.5, 1, (0.5**0.5 - 1) / 2], [0.5**1.5, (0.5**0.5 - 1) / 2, 1]]
    np.testing.assert_allclose(similarity(hidden), expected, atol=1e-7)
