"""Faults in how a plugin decodes a batch, planted in ones that are otherwise whole."""

import pytest

LOOP = """
class Planted(Strategy):
    '''A loop over the transformers model, with nothing remembered between tokens; without a fault.'''

    def generate(self, session, request):
        for _, emitted in self.generate_together([Member(session, request)]):
            yield emitted

    def sampler(self, members, place):
        return self.samplers[place]

    def stops(self, members, place):
        return members[place].request.stop_token_ids

    def over(self, members):
        return False

    def generate_together(self, members):
        texts = [list(member.request.prompt_tokens) for member in members]
        ends = [len(text) + member.request.max_new_tokens for text, member in zip(texts, members)]
        self.samplers = [Sampler(member.request.sampling, member.request.seed) for member in members]
        going = list(range(len(members)))
        while going and not self.over(members):
            longest = max(len(texts[place]) for place in going)
            rows = [texts[place] + [0] * (longest - len(texts[place])) for place in going]
            with torch.inference_mode():
                logits = members[0].session.model(torch.tensor(rows), use_cache=False).logits
            for row, place in enumerate(list(going)):
                token = self.sampler(members, place).choose(logits[row, len(texts[place]) - 1])
                texts[place].append(token)
                yield place, Emitted((token,), None)
                stopped = members[place].ended or token in self.stops(members, place)
                if stopped or len(texts[place]) == ends[place]:
                    going.remove(place)

    def score(self, session, window, sampler=None):
        raise NotImplementedError("only its batches are looked at")
"""

FAULTS = {
    "says that requests can decode together, but runs a model of its own": (
        "batch",
        """
class Planted(Half):
    def generate(self, session, request):
        yield from Half.generate(self, Session(session.stack), request)
""",
        "runs nothing through its session; define generate_together",
    ),
    "shares what belongs to a request between those who take turns": (
        "batch",
        """
class Planted(Half):
    batchable = False
    def generate(self, session, request):
        self.sampler = Sampler(request.sampling, request.seed)
        for emitted in super().generate(session, request):
            yield Emitted((int(self.sampler.uniform() * 61),), None)
""",
        "in a batch and",
    ),
    "ends the whole batch with the first that ends": (
        "batch",
        LOOP
        + """
    def over(self, members):
        return any(member.ended for member in members)
""",
        "generate_together gives each member what generate gives it alone",
    ),
    "draws for a whole batch from one stream": (
        "batch",
        LOOP
        + """
    def sampler(self, members, place):
        return self.samplers[0]
""",
        "generate_together gives each member what generate gives it alone",
    ),
    "takes each one's stop ids for everyone's": (
        "batch",
        LOOP
        + """
    def stops(self, members, place):
        return [token for member in members for token in member.request.stop_token_ids]
""",
        "generate_together gives each member what generate gives it alone",
    ),
    "never ends a batch": (
        "batch",
        LOOP
        + """
    def generate(self, session, request):
        yield Emitted((0,), None)

    def generate_together(self, members):
        while True:
            yield 1, Emitted((1,), None)
            members[1].ended = False
""",
        "with no end to it",
    ),
    "emits for nobody": (
        "batch",
        LOOP
        + """
    def generate(self, session, request):
        yield Emitted((0,), None)

    def generate_together(self, members):
        for place in range(len(members)):
            yield 2 * place, Emitted((0,), None)
""",
        "ValueError: emitted for member",
    ),
}


@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=pytest.mark.slow if place % 3 else ()) for place, name in enumerate(FAULTS)],
)
def test_a_planted_fault_is_told(verdict, fault):
    check, source, message = FAULTS[fault]
    result = verdict(check, source)
    assert result.status == "failed"
    assert message in result.detail
    assert "\n" not in result.detail


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("class Planted(Half):\n    pass\n", "at once"),
        (LOOP, "at once, in its own loop"),
        ("class Planted(Half):\n    batchable = False\n", "by turns"),
    ],
)
def test_a_batch_without_a_fault_is_fine_whichever_way_it_decodes(verdict, source, how):
    result = verdict("batch", source)
    assert (result.status, result.detail) == ("held", f"10 requests {how}")
