from lsbench_prompt_lookup.ngrams import NgramIndex
from lsbench_prompt_lookup.strategy import CopiedDraft, PromptLookup, PromptLookupOptions

from lsbench.engine import Sampler, Session
from lsbench.strategy import Sampling
from lsbench.strategy.conformance import random_bench


def test_drafts_are_the_continuation_of_the_last_occurrence():
    bench = random_bench()
    session = Session(bench.stack)
    draft = CopiedDraft(NgramIndex(1, 3))
    session.prefill(_ids([4, 5, 6, 7, 8, 4]))
    proposed = draft.propose(session, 5, 3, Sampler(Sampling(), 0))
    assert [drafted.token for drafted in proposed] == [6, 7, 8]


def test_repeated_text_is_taken_in_blocks():
    """A prompt that ends as it began: some of what is copied must be what the model says anyway."""
    bench = random_bench()
    strategy = PromptLookup(PromptLookupOptions())
    strategy.prepare(bench.preparation)
    drafted = accepted = 0
    for prompt in range(len(bench.prompts)):
        for emitted in strategy.generate(Session(bench.stack), bench.request(prompt)):
            drafted += emitted.drafted or 0
            accepted += len(emitted.tokens) if emitted.kind == "accepted" else 0
    assert 0 < accepted < drafted


def _ids(tokens: list[int]):
    import torch

    return torch.tensor([tokens])
