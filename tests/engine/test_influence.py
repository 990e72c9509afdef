from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from lsbench.engine import block_influence, layer_cosines

PROMPTS = ([3, 1, 4, 1, 5], [9, 2, 6, 5, 3, 5, 8])


def _hidden_states(model, prompt):
    """[2L + 1] hidden states [T, D] between the sub-layers of transformers' own model, by hooks."""
    states: list[torch.Tensor] = []
    hooks = []
    for layer in model.outside.model.layers:
        hooks.append(layer.register_forward_pre_hook(lambda _, args: states.append(args[0][0])))
        # What the second norm is given is the hidden state after attention.
        hooks.append(
            layer.post_attention_layernorm.register_forward_pre_hook(
                lambda _, args: states.append(args[0][0])
            )
        )
    hooks.append(
        model.outside.model.norm.register_forward_pre_hook(lambda _, args: states.append(args[0][0]))
    )
    model.full_pass(prompt)
    for hook in hooks:
        hook.remove()
    return states


def _cosine(before, after):
    dot = (before * after).sum(-1)
    return (dot / before.norm(dim=-1) / after.norm(dim=-1)).numpy()


def test_influence_is_taken_between_transformers_sublayers(each_tiny):
    expected = []
    for prompt in PROMPTS:
        states = _hidden_states(each_tiny, prompt)
        assert len(states) == 2 * each_tiny.num_layers + 1
        expected.append([1 - _cosine(before, after).mean() for before, after in pairwise(states)])
    influence = block_influence(each_tiny.stack, PROMPTS)
    assert influence.shape == (2 * each_tiny.num_layers,)
    np.testing.assert_allclose(influence, np.mean(expected, axis=0), atol=1e-9)
    assert (influence > 0.001).all()


def test_layer_cosines_are_those_of_whole_layers(each_tiny):
    states = _hidden_states(each_tiny, PROMPTS[1])
    expected = [_cosine(states[index], states[index + 2]) for index in range(0, 2 * each_tiny.num_layers, 2)]
    np.testing.assert_allclose(layer_cosines(each_tiny.stack, PROMPTS[1]), np.stack(expected), atol=1e-9)


def test_no_prompt_and_an_empty_one_are_refused(tiny):
    with pytest.raises(ValueError, match="at least one calibration prompt"):
        block_influence(tiny().stack, [])
    with pytest.raises(ValueError, match="prompt is empty"):
        block_influence(tiny().stack, [[1], []])
    with pytest.raises(ValueError, match="prompt is empty"):
        layer_cosines(tiny().stack, [])
