"""Requests, and strategies that do exactly as they are told."""

from collections.abc import Iterator

import pytest

from lsbench.spec import GenerateRequest, StrategyChoice
from lsbench.strategy import Emitted, Strategy


@pytest.fixture(scope="session")
def sentence_tokenizer():
    """As Llama 2's: spaces are marks, rare characters fall into bytes, a text's first space is left out."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [*"▁aeonzé\n", "▁▁", "on", "▁on", "one", "▁one", "zz"]
    merges = [("▁", "▁"), ("o", "n"), ("▁", "on"), ("on", "e"), ("▁on", "e"), ("z", "z")]
    raw = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=merges,
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture
def request_for():
    def make(prompt=(5, 6, 7), max_new_tokens=8, **options) -> GenerateRequest:
        return GenerateRequest(
            task="t",
            doc_id=options.pop("doc_id", 0),
            arguments_sha256="0" * 64,
            prompt="p",
            prompt_tokens=tuple(prompt),
            max_new_tokens=max_new_tokens,
            **options,
        )

    return make


class Scripted(Strategy):
    """Emits what it was given, whatever the request, and runs no model."""

    def __init__(self, emissions) -> None:
        super().__init__(self.Options())
        self.emissions = emissions

    def generate(self, session, request) -> Iterator[Emitted]:
        yield from self.emissions


@pytest.fixture
def scripted():
    return lambda *emissions: Scripted([e if isinstance(e, Emitted) else Emitted(*e) for e in emissions])


@pytest.fixture
def contender():
    from lsbench.execution.worker import Contender
    from lsbench.strategy.registry import resolve

    def make(name, strategy=None, **options):
        choice = StrategyChoice(name=name, options=options)
        return Contender(choice, strategy or resolve(choice))

    return make
