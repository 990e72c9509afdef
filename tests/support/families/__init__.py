"""Tiny random models of every type that the engine declares, and a reference that runs any of them."""
