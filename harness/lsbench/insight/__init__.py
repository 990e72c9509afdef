"""A look inside a checkpoint: what its layers predict, and what strategies can hope for on it."""
