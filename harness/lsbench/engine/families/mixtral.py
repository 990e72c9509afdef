"""Mixtral: Mistral with a mixture of experts for an MLP."""

from lsbench.engine.families.family import Family

MIXTRAL = Family(name="mixtral", model_types=("mixtral",), window="all")
