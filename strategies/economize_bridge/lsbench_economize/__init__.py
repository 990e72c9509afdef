"""Techniques of the package ``economize`` as lsbench strategies."""
