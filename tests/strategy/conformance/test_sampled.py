"""The certificate of sampled losslessness: it refutes wrong rules, and nothing else."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from scipy import stats

from lsbench.spec import Sampling
from lsbench.strategy import acceptance
from lsbench.strategy.conformance import check_strategy, random_bench
from lsbench.strategy.conformance.lossless import chi_square, exact_distribution

COPYING = """
class Copied(Draft):
    def propose(self, session, last, count, sampler):
        text = (*session.tokens(), last)
        for place in range(len(text) - 2, -1, -1):
            if text[place] == last:
                yield from (Drafted(token) for token in text[place + 1 : place + 1 + count])
                return

class Copying(Full):
    def generate(self, session, request):
        return speculate(session, request, Copied(), 3)
"""

WRONG_RULES = {
    "takes every draft that is the likeliest": """
class Planted(Full):
    def generate(self, session, request):
        sampler = Sampler(request.sampling, request.seed)
        token = sampler.choose(session.prefill(torch.tensor([request.prompt_tokens]))[0])
        for place in range(request.max_new_tokens):
            yield Emitted((token,), None)
            logits = session.forward(torch.tensor([[token]]), self.plan).logits[0, -1]
            text = session.tokens()
            copied = next((b for a, b in zip(text, text[1:]) if a == text[-1]), None)
            likeliest = int(logits.argmax())
            greedy = request.sampling.greedy or copied == likeliest
            token = likeliest if greedy else sampler.choose(logits)
""",
    "puts another temperature": """
class Planted(Full):
    def generate(self, session, request):
        cooler = request.sampling.model_copy(update={"temperature": 0.8 * request.sampling.temperature})
        return super().generate(session, request.model_copy(update={"sampling": cooler}))
""",
    "forgets top_k": """
class Planted(Full):
    def generate(self, session, request):
        every = request.sampling.model_copy(update={"top_k": 0, "top_p": 1.0})
        return super().generate(session, request.model_copy(update={"sampling": every}))
""",
    "draws again what was refused": f"{COPYING}\nclass Planted(Copying):\n    pass\n",
}


@pytest.fixture(scope="module")
def shallow():
    """Two layers are enough: what is tested is the rule, not the model."""
    return replace(random_bench(2), draws=400)


def test_the_enumeration_is_a_distribution_and_that_of_the_model():
    bench = random_bench(2, 3)
    prompt = bench.prompts[1]
    exact = exact_distribution(bench.stack, prompt, Sampling(temperature=0.7))
    assert len(exact) == 3**4
    assert sum(exact.values()) == pytest.approx(1)
    ids = torch.tensor([[*prompt, 0, 2, 1, 1]])
    with torch.inference_mode():
        logits = bench.stack.model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    chances = torch.softmax(logits / 0.7, dim=-1)
    assert exact[0, 2, 1, 1] == pytest.approx(float(chances[range(4), [0, 2, 1, 1]].prod()))


def test_the_chance_is_that_of_pearsons_test():
    exact = {(token,): chance for token, chance in enumerate((0.5, 0.25, 0.15, 0.1))}
    counts = Counter({(0,): 40, (1,): 30, (2,): 17, (3,): 13})
    expected = stats.chisquare([40, 30, 17, 13], [50, 25, 15, 10]).pvalue
    assert chi_square(counts, exact) == pytest.approx(expected)


def test_rare_sequences_are_counted_together_and_impossible_ones_refute():
    exact = {(0,): 0.96, (1,): 0.02, (2,): 0.02, (3,): 0.0}
    counts = Counter({(0,): 95, (1,): 5})
    assert chi_square(counts, exact) == pytest.approx(stats.chisquare([95, 5], [96, 4]).pvalue)
    assert chi_square(counts + Counter({(3,): 1}), exact) == 0


@pytest.mark.slow
@pytest.mark.parametrize("rule", WRONG_RULES)
def test_a_wrong_rule_is_refuted_where_greedy_decoding_is_right(install, imports, shallow, rule, monkeypatch):
    if rule == "draws again what was refused":
        monkeypatch.setattr(acceptance, "remainder", lambda target, proposed: target)
    install("planted", imports + WRONG_RULES[rule], planted="planted_module:Planted")
    report = check_strategy("planted", shallow, only=["lossless, greedy", "lossless, sampled"])
    greedy, sampled = report.results
    assert greedy.status == "held"
    assert sampled.status == "failed"
    assert "do not fit the full model's distribution" in sampled.detail


@pytest.mark.slow
def test_the_right_rule_is_not_refuted(install, imports, shallow):
    install(
        "planted",
        f"{imports}{COPYING}\nclass Planted(Copying):\n    pass\n",
        planted="planted_module:Planted",
    )
    report = check_strategy("planted", shallow, only=["lossless, greedy", "lossless, sampled"])
    assert [result.status for result in report.results] == ["held", "held"]
