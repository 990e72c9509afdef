"""Each fault is planted in a plugin that is otherwise whole, and the check that is there for it tells it."""

import pytest

EXIT_OPTIONS = """
class Options(StrategyOptions):
    exit_layer: int = option(2, help="where to stop", search=IntRange(1, None), ge=1)

class Exit(Strategy):
    Options = Options
    def prepare(self, preparation):
        self.num_layers = preparation.num_layers
    def policy(self, request):
        return ConstantPolicy(DepthPlan.exit_at(self.num_layers, self.options.exit_layer))
    def check(self, num_layers):
        if self.options.exit_layer > num_layers:
            raise BadInput("too deep")
"""

FAULTS = {
    "ignores an option": (
        "every option acts",
        EXIT_OPTIONS
        + """
class Planted(Exit):
    def policy(self, request):
        return ConstantPolicy(DepthPlan.exit_at(self.num_layers, 2))
""",
        "exit_layer changes nothing: tried 1, 3, 4",
    ),
    "says that an option changes cost alone": (
        "every option acts",
        """
class Options(StrategyOptions):
    exit_layer: int = option(2, help="where to stop", search=IntRange(1, 2), changes="cost")

class Planted(Half):
    Options = Options
    def policy(self, request):
        return ConstantPolicy(DepthPlan.exit_at(self.num_layers, self.options.exit_layer))
""",
        "declared to change cost only, but exit_layer=1 changes more",
    ),
    "does not say what an option could be": (
        "every option acts",
        """
class Options(StrategyOptions):
    layers: tuple[int, ...] = option((1, 2), help="which layers")

class Planted(Half):
    Options = Options
""",
        "no other value of layers could be tried",
    ),
    "keeps a request's place on the strategy": (
        "batch",
        """
class Planted(Half):
    def generate(self, session, request):
        self.count = 0
        for emitted in super().generate(session, request):
            self.count += 1
            if self.count > request.max_new_tokens:
                return
            yield emitted
""",
        "in a batch and",
    ),
    "overshoots the token limit": (
        "token limit",
        """
class Planted(Half):
    def generate(self, session, request):
        block = []
        for emitted in super().generate(session, request.model_copy(update={"max_new_tokens": 40})):
            block.append(emitted.tokens[0])
            if len(block) == 2:
                yield Emitted(tuple(block), None)
                block = []
                request = request.model_copy(update={"max_new_tokens": request.max_new_tokens - 2})
                if request.max_new_tokens <= 0:
                    return
""",
        "2 tokens came out where max_new_tokens is 1",
    ),
    "has no end": (
        "token limit",
        """
class Planted(Half):
    def generate(self, session, request):
        return super().generate(session, request.model_copy(update={"max_new_tokens": 1000}))
""",
        "with no end to it",
    ),
    "ends too early": (
        "token limit",
        """
class Planted(Half):
    def generate(self, session, request):
        for place, emitted in enumerate(super().generate(session, request)):
            if place < 4:
                yield emitted
""",
        "4 tokens came out where max_new_tokens is 5",
    ),
    "keeps the stop token back": (
        "stop ids",
        """
class Planted(Half):
    def generate(self, session, request):
        for emitted in super().generate(session, request):
            if emitted.tokens[0] in request.stop_token_ids:
                return
            yield emitted
""",
        "as stop id",
    ),
    "claims losslessness falsely": (
        "lossless, greedy",
        "class Planted(Half):\n    lossless = True\n",
        "token 1 after prompt 0 is",
    ),
    "is lossless but for the last token": (
        "lossless, greedy",
        """
class Planted(Full):
    def generate(self, session, request):
        for place, emitted in enumerate(super().generate(session, request)):
            last = place == request.max_new_tokens - 1
            yield Emitted(((emitted.tokens[0] + last) % session.stack.vocabulary_size,), None)
""",
        "token 9 after prompt 0 is",
    ),
    "draws from torch's global random state": (
        "global random state",
        """
class Planted(Half):
    def generate(self, session, request):
        for emitted in super().generate(session, request):
            torch.rand(())
            yield emitted
""",
        "the global random state of torch is changed",
    ),
    "seeds Python's global random state": (
        "global random state",
        """
class Planted(Half):
    def policy(self, request):
        random.seed(0)
        return super().policy(request)
""",
        "the global random state of Python is changed",
    ),
    "reads numpy's global random state and puts it back": (
        "global random state",
        """
class Planted(Half):
    def policy(self, request):
        state = np.random.get_state()
        layers = np.random.randint(1, self.num_layers + 1)
        np.random.set_state(state)
        return ConstantPolicy(DepthPlan.exit_at(self.num_layers, layers))
""",
        "changes what comes out",
    ),
    "keeps state between requests": (
        "no state between requests",
        """
class Planted(Half):
    requests = 0
    def policy(self, request):
        self.requests += 1
        return ConstantPolicy(DepthPlan.exit_at(self.num_layers, 1 + self.requests % self.num_layers))
""",
        "request 1 after 1 others: tokens differ from place",
    ),
    "keeps what it drafts from between requests": (
        "no state between requests",
        """
class Remembering(Draft):
    seen = {}
    def propose(self, session, last, count, sampler):
        text = (*session.tokens(), last)
        self.seen.update(zip(text, text[1:]))
        if last in self.seen:
            yield Drafted(self.seen[last])

class Planted(Full):
    def prepare(self, preparation):
        super().prepare(preparation)
        self.draft = Remembering()
        self.draft.seen = {}
    def generate(self, session, request):
        return speculate(session, request, self.draft, 3)
""",
        "drafted differ",
    ),
    "keeps a request's state on the strategy": (
        "no state between requests",
        """
class Counting(DepthPolicy):
    def __init__(self, strategy):
        self.strategy = strategy
        strategy.tokens = 0
    def plan(self, context):
        self.strategy.tokens += 1
        layers = context.num_layers
        return DepthPlan.exit_at(layers, 1 + self.strategy.tokens % layers)

class Planted(Half):
    def policy(self, request):
        return Counting(self)
""",
        "beside another that is under way",
    ),
    "ignores the seed": (
        "seeds",
        """
class Planted(Half):
    def generate(self, session, request):
        return super().generate(session, request.model_copy(update={"seed": 1}))
""",
        "4 seeds at temperature 0.9 all give",
    ),
    "draws what nobody can repeat": (
        "seeds",
        """
class Planted(Half):
    def generate(self, session, request):
        seed = int(np.random.default_rng().integers(1 << 30))
        return super().generate(session, request.model_copy(update={"seed": seed}))
""",
        "asked again, in another order: tokens differ",
    ),
    "leaves refused drafts in the session": (
        "session",
        """
class Planted(Full):
    def generate(self, session, request):
        yield from super().generate(session, request)
        session.forward(torch.tensor([[0, 0]]), self.plan)
""",
        "not the beginning of prompt and output",
    ),
    "writes to the cache": (
        "session",
        """
class Planted(Full):
    def generate(self, session, request):
        yield from super().generate(session, request)
        session.cache.keys[1][:] += 1e-3
""",
        "is off a fresh pass by",
    ),
    "counts layers it did not run": (
        "depth",
        """
class Planted(Half):
    def generate(self, session, request):
        for emitted in super().generate(session, request):
            yield Emitted(emitted.tokens, (1.0,))
""",
        "is said to have run 1 layers, but the session ran 2",
    ),
    "counts sub-layers": (
        "depth",
        """
class Planted(Full):
    def generate(self, session, request):
        for emitted in super().generate(session, request):
            yield Emitted(emitted.tokens, (2 * emitted.depth[0],))
""",
        "token 0 is said to have run 8 layers; the model has 4",
    ),
    "scores with the full model": (
        "score agrees with generate",
        """
class Planted(Half):
    def policy(self, request):
        generating = hasattr(request, "max_new_tokens")
        return super().policy(request) if generating else ConstantPolicy(DepthPlan.full(self.num_layers))
""",
        "generate chose",
    ),
    "scores too well": (
        "score adds up",
        """
class Planted(Half):
    def score(self, session, window, sampler=None):
        scored = super().score(session, window, sampler)
        return Scored(tuple(p / 2 for p in scored.logprobs), scored.choices, scored.depth)
""",
        "the probabilities of all 61 tokens in place 0 add up to",
    ),
    "has an option without help": (
        "options told and bounded",
        """
class Options(StrategyOptions):
    exit_layer: int = 2

class Planted(Half):
    Options = Options
""",
        "option exit_layer has no help",
    ),
    "corrects what is out of bounds": (
        "options told and bounded",
        """
class Options(StrategyOptions):
    exit_layer: int = option(2, help="where to stop", ge=1)

    @field_validator("exit_layer", mode="wrap")
    @classmethod
    def corrected(cls, value, handler):
        return handler(max(1, value)) if isinstance(value, int) else handler(value)

class Planted(Half):
    Options = Options
""",
        "exit_layer=0 is accepted",
    ),
    "searches where it refuses": (
        "options told and bounded",
        """
class Options(StrategyOptions):
    share: float = option(0.5, help="of the layers", search=FloatRange(0.0, 1.0), gt=0, le=1)

class Planted(Half):
    Options = Options
""",
        "share=0.0 is in the search space, but refused",
    ),
    "has an option that does not read back": (
        "options read back",
        """
class Options(StrategyOptions):
    share: float = option(0.5, help="of the layers", ge=0, le=1)

    @field_serializer("share")
    def rounded(self, value):
        return round(value)

class Planted(Half):
    Options = Options
""",
        "reads back as",
    ),
    "raises": (
        "seeds",
        """
class Planted(Half):
    def generate(self, session, request):
        raise RuntimeError("out of cheese")
""",
        "RuntimeError: out of cheese",
    ),
}
PRIVATE = {
    "from lsbench.engine.cache import KVCache": "imports KVCache from lsbench.engine.cache",
    "import lsbench.strategy.loops": "imports lsbench.strategy.loops",
    "from lsbench.strategy import loops": "imports loops from lsbench.strategy",
    "from lsbench.spec import RunSpec": "imports RunSpec from lsbench.spec",
    "import lsbench.engine as engine\nX = engine.step": "uses lsbench.engine.step",
    "import lsbench.engine\nX = lsbench.engine.session.Session": "uses lsbench.engine.session",
    "import lsbench\ndef f():\n    return lsbench.pipeline": "uses lsbench.pipeline",
    "def f():\n    from lsbench import pipeline": "imports pipeline from lsbench",
    "import importlib\nX = lambda: importlib.import_module('lsbench.pipeline')": "imports lsbench.pipeline",
}
PUBLIC = """
import lsbench.engine
import lsbench.engine as engine
from lsbench import records
from lsbench.records import SampleRecord
from lsbench.strategy.conformance import check_strategy
A = engine.Session, lsbench.engine.DepthPlan, lsbench.strategy.Strategy, records.SampleRecord
B = engine.Session._tokens if hasattr(engine.Session, "_tokens") else None
"""


FIRST_OF_EACH_CHECK = {check: fault for fault, (check, *_) in reversed(FAULTS.items())}.values()


@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=() if name in FIRST_OF_EACH_CHECK else pytest.mark.slow) for name in FAULTS],
)
def test_a_planted_fault_is_told(verdict, fault):
    check, source, message = FAULTS[fault]
    result = verdict(check, source)
    assert result.status == "failed"
    assert message in result.detail
    assert "\n" not in result.detail


@pytest.mark.parametrize("statement", PRIVATE)
def test_a_private_name_is_told(verdict, statement):
    result = verdict("public names", f"{statement}\n\nclass Planted(Half):\n    pass\n")
    assert result.status == "failed"
    assert "planted_module.py, line " in result.detail
    assert PRIVATE[statement] in result.detail


def test_public_names_are_fine_however_they_are_imported(verdict):
    result = verdict("public names", f"{PUBLIC}\n\nclass Planted(Half):\n    pass\n")
    assert (result.status, result.detail) == ("held", "1 file")


WITHOUT_FAULT = [
    "every option acts", "options told and bounded", "options read back", "seeds", "token limit", "session",
    "depth", "score agrees with generate", "score adds up", "global random state",
    "no state between requests", "stop ids",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("check", WITHOUT_FAULT)
def test_without_a_fault_nothing_is_told(verdict, check):
    """The very plugins that faults are planted in."""
    assert verdict(check, EXIT_OPTIONS + "class Planted(Exit):\n    pass\n").status == "held"
