"""XSum (Narayan et al., 2018, https://arxiv.org/abs/1808.08745): a BBC article in one sentence."""
