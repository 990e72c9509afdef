"""Layouts that differ from Llama's in one thing or none."""

from lsbench.engine.families.family import Family

SEED_OSS = Family(name="seed_oss", model_types=("seed_oss",))
PLAIN_MLP = Family(name="plain_mlp", model_types=("arcee", "nemotron"), gate=None)
