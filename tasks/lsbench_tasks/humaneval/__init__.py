"""HumanEval (Chen et al., 2021, https://arxiv.org/abs/2107.03374) without the hub."""
