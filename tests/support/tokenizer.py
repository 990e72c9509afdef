"""A real tokenizer, trained on a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CORPUS = [
    "def add(a, b):\n    return a + b\n",
    "The sky is blue. The grass is green. Question: what colour is it? Answer: blue",
    "one two three four five six seven eight nine ten",
    "naïve café, größer, 日本語, 🙂🙃",
]
TURNS = ["<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_level_tokenizer(
    *, bos: bool = True, begins_with_bos: bool = False, chat: bool = True
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 340 tokens at most: ``<s>`` is 0 and ``</s>``, which ends a text, 1.

    Characters of several bytes fall into several tokens, or share one with others.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<s>", "</s>", *TURNS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    if begins_with_bos:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {"bos_token": "<s>"} if bos else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="</s>", **names)
    tokenizer.add_special_tokens({"additional_special_tokens": TURNS})
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
