"""MBPP (Austin et al., 2021, https://arxiv.org/abs/2108.07732): small Python functions from a sentence."""
