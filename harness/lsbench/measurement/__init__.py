"""What records say: speed, quality, fidelity and depth, each figure with its interval or its reason."""
