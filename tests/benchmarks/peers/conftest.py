import pytest

from benchmarks.peers.ours import Ours
from benchmarks.peers.peer import Setting


@pytest.fixture
def setting(tiny_model, tmp_path) -> Setting:
    """The tiny model in float32, for one prompt at a time."""
    return Setting(
        folder=tiny_model,
        scratch=tmp_path,
        dtype="float32",
        device="cpu",
        threads=1,
        batch_size=1,
        capacity=96,
        exit_layer=2,
        num_speculations=3,
        lookup_tokens=4,
    )


@pytest.fixture(scope="session")
def tiny_stack32(tiny_model):
    from lsbench.engine.loading import load_stack

    return load_stack(tiny_model, "float32", "cpu")


@pytest.fixture
def ours(tiny_stack32, tiny_tokenizer) -> Ours:
    return Ours(tiny_stack32, tiny_tokenizer, "autoregressive")


PROMPTS = [[5, 9, 200, 31, 9, 200], [17, 4, 88, 301, 12, 7, 7, 40, 120]]


@pytest.fixture
def prompts() -> list[list[int]]:
    return PROMPTS
