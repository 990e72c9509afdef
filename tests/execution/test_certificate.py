"""What a run looks at to certify that sampled output has the full model's distribution."""

from collections import Counter

import pytest
import torch

from lsbench.engine import DecoderStack, Sampler, probabilities
from lsbench.execution import certificate
from lsbench.execution.certificate import Certifier, count_cells, places, testable_spot
from lsbench.execution.generation import generate
from lsbench.measurement.certificate import certificates
from lsbench.records import SampleRecord
from lsbench.spec import Sampling, parse_strategy
from lsbench.strategy import Emitted, Preparation, Strategy, acceptance
from lsbench.strategy.registry import resolve
from support.models import random_llama

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS = 16
SAMPLING = Sampling(temperature=0.8)
PROMPT = (2, 5, 1)
# The names of what is tested begin with ``test``, and are no tests.
testable_spot.__test__ = False


@pytest.fixture(scope="module")
def stack():
    """Three layers over few tokens, whose first layers alone say something else."""
    config = {"vocab_size": TOKENS, "num_hidden_layers": 3, "max_position_embeddings": 256}
    config |= {"initializer_range": 0.35}
    return DecoderStack(random_llama(5, **config).double())


def distributions(stack, tokens, sampling=SAMPLING):
    """[T, V] what follows each beginning of ``tokens``, by one pass of transformers' own."""
    with torch.inference_mode():
        return probabilities(stack.model(torch.tensor([tokens])).logits[0], sampling)


def look_record(label, doc_id, look):
    return SampleRecord(
        schema=1, strategy=label, options={}, label=label, task="t", doc_id=doc_id, kind="certificate",
        arguments_sha256="", prompt="", prompt_tokens=3, **vars(look),
    )  # fmt: skip


def test_a_tokens_place_is_within_its_own_mass_in_order_of_ids(stack, request_for, monkeypatch):
    monkeypatch.setattr(certificate, "_ROWS", 4)
    output = (3, 0, 15, 7, 7, 2, 9, 11, 4, 15)
    request = request_for(PROMPT, sampling=SAMPLING)
    found = places(stack, request, output)
    exact = distributions(stack, (*PROMPT, *output))[len(PROMPT) - 1 : -1]
    for place, token, distribution in zip(found, output, exact, strict=True):
        below = float(distribution[:token].sum())
        assert below - 1e-6 <= place <= below + float(distribution[token]) + 1e-6
    assert places(stack, request, output) == found
    assert places(stack, request_for(PROMPT, sampling=SAMPLING, seed=1), output) != found


def test_what_the_full_model_never_draws_stands_at_the_end(stack, request_for):
    sampling = Sampling(temperature=0.8, top_k=3)
    allowed = distributions(stack, PROMPT, sampling)[-1].nonzero()[:, 0].tolist()
    request = request_for(PROMPT, sampling=sampling)
    never = next(token for token in range(TOKENS) if token not in allowed)
    (outside,) = places(stack, request, (never,))
    (inside,) = places(stack, request, (allowed[0],))
    assert outside == 1
    assert inside < 1


def test_cells_hold_every_draw_that_was_expected_often_enough(stack, request_for):
    request = request_for(PROMPT, sampling=SAMPLING)
    first = distributions(stack, PROMPT)[-1]
    sampler = Sampler(SAMPLING, 3)
    drawn = []
    for _ in range(64):
        token = sampler.draw(first)
        drawn.append((token, sampler.draw(distributions(stack, (*PROMPT, token))[-1])))
    tables = count_cells(stack, request, drawn)
    root, *after = tables
    often = {int(token) for token in (first * 64 >= 5).nonzero()[:, 0]}
    seen = Counter(tokens[0] for tokens in drawn)
    assert {cell[0] for cell in root[: len(often)]} <= {seen[token] for token in often}
    assert len(root) in (len(often), len(often) + 1)
    for table in tables:
        assert sum(count for count, _ in table) == pytest.approx(sum(expected for _, expected in table))
        assert all(expected >= 5 for _, expected in table)
    shared = [token for token, count in seen.items() if count >= 10]
    assert len(after) <= len(shared)
    assert {sum(count for count, _ in table) for table in after} <= {seen[token] for token in shared}


def test_the_spot_is_one_where_draws_stay_together_and_then_may_part(stack, request_for, monkeypatch):
    request = request_for(PROMPT, sampling=SAMPLING)
    output = (3, 0, 15, 7, 7, 2, 9, 11, 4, 15)
    exact = distributions(stack, (*PROMPT, *output))[len(PROMPT) - 1 : -1]
    worth = []
    for place in range(len(output) - 1):
        following = exact[place + 1]
        likely = following[following * certificate.DRAWS >= 5]
        worth.append(float(exact[place][output[place]] * (likely * (1 - likely)).sum()))
    monkeypatch.setattr(certificate, "_LEAST_TESTABLE", max(worth) - 1e-9)
    assert testable_spot(stack, request, output) == worth.index(max(worth))
    monkeypatch.setattr(certificate, "_LEAST_TESTABLE", max(worth) + 1e-9)
    assert testable_spot(stack, request, output) is None
    assert testable_spot(stack, request, output[:1]) is None


def test_no_spot_is_chosen_beyond_the_context(tiny_stack, request_for):
    room = certificate.DRAWN_TOKENS
    prompt = tuple(5 + n % 90 for n in range(tiny_stack.context_length - room))
    request = request_for(prompt, sampling=Sampling(temperature=1.5))
    assert testable_spot(tiny_stack, request, tuple(range(10, 10 + room))) in (0, None)
    longer = request_for((*prompt, 5), sampling=Sampling(temperature=1.5))
    assert testable_spot(tiny_stack, longer, tuple(range(10, 9 + room))) is None


class Counting(Strategy):
    """Draws one token after another from a fixed distribution, and counts how often it was asked to."""

    def __init__(self) -> None:
        super().__init__(self.Options())
        self.seeds = []

    def generate(self, session, request):
        self.seeds.append(request.seed)
        sampler = Sampler(request.sampling, request.seed)
        for _ in range(request.max_new_tokens):
            yield Emitted((sampler.choose(torch.zeros(TOKENS)),), None)


def test_it_draws_at_a_few_spots_under_different_seeds_and_goes_on_where_it_was(
    stack, request_for, tiny_tokenizer, monkeypatch
):
    monkeypatch.setattr(certificate, "DRAWS", 12)
    monkeypatch.setattr(certificate, "_LEAST_TESTABLE", 0)
    output = (3, 0, 15, 7, 7, 2)

    def look(certifier, strategy, doc_id):
        request = request_for(PROMPT, doc_id=doc_id, seed=doc_id, sampling=SAMPLING)
        record = look_record("x", doc_id, certifier.look("x", strategy, request, output, output))
        certifier.remember(record)
        return record

    certifier, strategy = Certifier(stack, tiny_tokenizer), Counting()
    records = [look(certifier, strategy, doc_id) for doc_id in range(5)]
    assert [record.draws for record in records] == [12] * certificate.SPOTS + [None] * 2
    assert all(len(record.places) == len(output) for record in records)
    assert len(strategy.seeds) == len(set(strategy.seeds)) == 12 * certificate.SPOTS
    later, other = Certifier(stack, tiny_tokenizer), Counting()
    for record in records[:2]:
        later.remember(record)
    assert [look(later, other, doc_id) for doc_id in range(2, 5)] == records[2:]


def drawn_by(text, stack, tokenizer, request_for):
    """The certificate of three outputs, and the share of drafts that were taken."""
    strategy = resolve(parse_strategy(text))
    strategy.prepare(Preparation(stack, ()))
    baseline, certifier = resolve(parse_strategy("autoregressive")), Certifier(stack, tokenizer)
    records, accepted, drafted = [], 0, 0
    for number in range(3):
        request = request_for((*PROMPT, number), 60, doc_id=number, seed=number, sampling=SAMPLING)
        own = generate(stack, tokenizer, strategy, request)
        accepted, drafted = accepted + own.accepted, drafted + own.drafted
        before = generate(stack, tokenizer, baseline, request).token_ids
        record = look_record("x", number, certifier.look("x", strategy, request, before, own.token_ids))
        certifier.remember(record)
        records.append(record)
    return certificates(records, ["x"])["x"], accepted / drafted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        (None, None),
        ("is_taken", lambda target, proposed, uniform: uniform < float(target[proposed.token])),
        ("remainder", lambda target, proposed: target),
    ],
    ids=["as it is", "not weighed against the draft", "redrawn from the whole"],
)
def test_the_least_obvious_faults_of_the_acceptance_rule_are_found(
    stack, tiny_tokenizer, request_for, monkeypatch, rule, wrong
):
    if rule is not None:
        monkeypatch.setattr(acceptance, rule, wrong)
    text = "self_speculative:draft=static_exit,draft.exit_layer=2,num_speculations=3"
    found, taken = drawn_by(text, stack, tiny_tokenizer, request_for)
    assert found.drawn == 3 * certificate.DRAWS
    assert found.refuted == (rule is not None)
    if rule is None:
        assert 0.15 < taken < 0.85  # where all or none are taken, any rule passes


@pytest.mark.slow
def test_a_strategy_that_ignores_its_seed_is_found(stack, tiny_tokenizer, request_for):
    class Same(Strategy):
        def generate(self, session, request):
            again = request.model_copy(update={"seed": len(request.prompt_tokens)})
            return resolve(parse_strategy("autoregressive")).generate(session, again)

    strategy, certifier, records = Same(Same.Options()), Certifier(stack, tiny_tokenizer), []
    for number in range(3):
        request = request_for((*PROMPT, number), 60, doc_id=number, seed=number, sampling=SAMPLING)
        output = generate(stack, tiny_tokenizer, strategy, request).token_ids
        records.append(look_record("x", number, certifier.look("x", strategy, request, output, output)))
    found = certificates(records, ["x"])["x"]
    assert found.draws.p_value < 1e-20
    assert found.outputs.p_value > 1e-3
