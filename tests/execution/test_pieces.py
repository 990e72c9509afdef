from random import Random

from lsbench.execution.pieces import TextPieces
from support.tokenizer import CORPUS


def test_a_character_of_several_tokens_comes_with_its_last(tiny_tokenizer):
    tokens = tiny_tokenizer.encode("a🙂b 日", add_special_tokens=False)
    pieces = TextPieces(tiny_tokenizer)
    told = [pieces.push(token) for token in tokens]
    assert "".join(told) == "a🙂b 日"
    assert "" in told
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in told)


def test_pieces_are_the_text_whatever_the_tokens(tiny_tokenizer):
    random = Random(3)
    texts = [tiny_tokenizer.encode(text, add_special_tokens=False) for text in CORPUS]
    # Any ids at all: special ones, halves of characters, and those that only pad the vocabulary.
    texts += [[random.randrange(350) for _ in range(40)] for _ in range(60)]
    for tokens in texts:
        pieces = TextPieces(tiny_tokenizer)
        told = "".join(pieces.push(token) for token in tokens) + pieces.rest()
        text = [token for token in tokens if tiny_tokenizer.convert_ids_to_tokens(token) is not None]
        assert told == tiny_tokenizer.decode(text, skip_special_tokens=True)


def test_a_special_token_adds_nothing(tiny_tokenizer):
    assert TextPieces(tiny_tokenizer).push(tiny_tokenizer.eos_token_id) == ""
