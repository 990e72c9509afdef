import pytest

from lsbench.execution.turns import Turn
from lsbench.execution.worker import Worker
from lsbench.records import SampleRecord
from lsbench.spec import Sampling, ScoreRequest, ScoreWindow
from lsbench.strategy import Emitted, Scored, Strategy

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPT = (20, 40, 60, 80, 100)


@pytest.fixture
def worker_of(tiny_stack, tiny_tokenizer, contender):
    def make(*others, baseline=None, segment=0) -> Worker:
        worker = Worker(tiny_stack, tiny_tokenizer, baseline or contender("autoregressive"), others, segment)
        worker.prepare()
        return worker

    return make


@pytest.fixture
def score_request():
    def make(*windows, rolling=False) -> ScoreRequest:
        return ScoreRequest(
            task="s",
            doc_id=3,
            idx=1,
            arguments_sha256="1" * 64,
            prompt="p",
            target="t",
            windows=tuple(ScoreWindow(context=c, continuation=t) for c, t in windows),
            rolling=rolling,
        )

    return make


def all_of(worker, request, turn=0, finished=frozenset(), attempts=None) -> list[SampleRecord]:
    return list(worker.run(Turn(turn, (request,)), finished, attempts or {}))


def order(records):
    return [(record.label, record.kind) for record in records]


def test_the_order_alternates_and_fidelity_comes_last(worker_of, contender, request_for):
    worker = worker_of(contender("static_exit", exit_layer=2), contender("static_exit", exit_layer=4))
    base, two, four = "autoregressive", "static_exit:exit_layer=2", "static_exit:exit_layer=4"
    fidelity = [(two, "fidelity"), (four, "fidelity")]
    for turn in (0, 1, 2):
        decoded = [(label, "generate") for label in (base, two, four)]
        records = all_of(worker, request_for(PROMPT, doc_id=turn), turn)
        assert order(records) == (decoded[::-1] if turn == 1 else decoded) + fidelity
        assert all(record.error is None for record in records)


def test_each_token_has_the_text_that_it_adds(worker_of, contender, request_for):
    record, *_ = all_of(worker_of(contender("static_exit", exit_layer=2)), request_for(PROMPT))
    assert record.text
    assert len(record.token_texts) == len(record.token_ids)
    assert "".join(record.token_texts) == record.text


def test_only_who_has_not_finished_runs_and_fidelity_knows_the_output_of_before(
    worker_of, contender, request_for
):
    request = request_for(PROMPT)
    whole = all_of(worker_of(contender("static_exit", exit_layer=2)), request)
    for done in range(len(whole) + 1):
        worker = worker_of(contender("static_exit", exit_layer=2), segment=1)
        for record in whole[:done]:
            worker.remember(record)
        rest = all_of(worker, request, finished={record.key for record in whole[:done]})
        assert order(rest) == order(whole[done:])
        assert [r.agreement for r in rest] == [r.agreement for r in whole[done:]]
        assert {record.segment for record in rest} <= {1}


def test_a_failed_request_is_recorded_and_tried_again_under_the_next_number(
    worker_of, contender, request_for, scripted
):
    broken = contender("broken", scripted())
    request = request_for(PROMPT)
    (baseline, failed, fidelity) = all_of(worker_of(broken), request)
    assert baseline.error is None
    assert failed.error == "BrokenStrategy: ended after 0 tokens with no stop condition met"
    assert "NotImplementedError" in fidelity.error
    empty = SampleRecord(
        schema=1,
        strategy="broken",
        options={},
        label="broken",
        task="t",
        doc_id=0,
        kind="generate",
        arguments_sha256="0" * 64,
        prompt="p",
        prompt_tokens=5,
        error=failed.error,
    )
    assert failed == empty
    again = all_of(worker_of(broken), request, attempts={failed.key: 1, fidelity.key: 4})
    assert [record.attempt for record in again] == [1, 2, 5]


def test_without_the_baselines_output_there_is_no_fidelity(worker_of, contender, request_for, scripted):
    worker = worker_of(contender("static_exit", exit_layer=2), baseline=contender("broken", scripted()))
    records = all_of(worker, request_for(PROMPT))
    assert [(r.label, r.kind, r.error is None) for r in records] == [
        ("broken", "generate", False),
        ("static_exit:exit_layer=2", "generate", True),
    ]


SAMPLED = Sampling(temperature=1.5, top_p=0.95, top_k=80)


def test_what_is_drawn_depends_on_the_request_alone(worker_of, contender, request_for):
    two, four = contender("static_exit", exit_layer=2), contender("static_exit", exit_layer=4)
    requests = [
        request_for(PROMPT, doc_id=doc, seed=doc, sampling=SAMPLED, max_new_tokens=24) for doc in (0, 1, 2)
    ]
    one, other = worker_of(two, four), worker_of(four)
    first = {r.key: r for turn, q in enumerate(requests) for r in all_of(one, q, turn)}
    second = {r.key: r for turn, q in enumerate(reversed(requests)) for r in all_of(other, q, turn)}
    assert set(second) < set(first)
    for key, record in second.items():
        assert (record.token_ids, record.agreement) == (first[key].token_ids, first[key].agreement)
    drawn = {first[key].token_ids for key in first if key.strategy == "autoregressive"}
    assert len(drawn) == 3


def test_full_depth_agrees_with_every_token_that_was_drawn(worker_of, contender, request_for):
    worker = worker_of(contender("static_exit", exit_layer=4), contender("static_exit", exit_layer=2))
    request = request_for(PROMPT, seed=9, sampling=SAMPLED, max_new_tokens=60)
    records = {(r.label, r.kind): r for r in all_of(worker, request)}
    output = records["autoregressive", "generate"].token_ids
    assert len(set(output)) > 10
    assert records["static_exit:exit_layer=4", "generate"].token_ids == output
    assert records["static_exit:exit_layer=4", "fidelity"].agreement == (True,) * len(output)
    assert False in records["static_exit:exit_layer=2", "fidelity"].agreement


def plain_logprobs(stack, context, continuation):
    import torch

    tokens = torch.tensor([[*context, *continuation]])
    with torch.no_grad():
        logits = stack.model(tokens).logits[0, len(context) - 1 : -1].log_softmax(-1)
    wanted = torch.tensor(continuation)
    return float(logits.gather(1, wanted[:, None]).sum()), bool((logits.argmax(-1) == wanted).all())


def test_log_likelihoods_are_those_of_a_plain_forward_pass(worker_of, contender, score_request, tiny_stack):
    import torch

    worker = worker_of(contender("static_exit", exit_layer=2))
    greedy = tuple(tiny_stack.model.generate(torch.tensor([PROMPT]), max_new_tokens=6)[0, 5:].tolist())
    windows = [(PROMPT, (7, 8, 9)), ((5,), greedy), (PROMPT, greedy)]
    for some in ([windows[0]], [windows[2]], windows):
        expected = [plain_logprobs(tiny_stack, *window) for window in some]
        full, half = all_of(worker, score_request(*some, rolling=len(some) > 1))
        assert full.logprob == pytest.approx(sum(value for value, _ in expected), abs=1e-9)
        assert full.is_greedy == all(greedy for _, greedy in expected)
        assert half.logprob != pytest.approx(full.logprob, abs=1e-3)
        assert full.prompt_tokens == sum(len(context) for context, _ in some)
        assert (full.kind, full.task, full.doc_id, full.idx, full.token_ids) == ("score", "s", 3, 1, None)
    assert all_of(worker, score_request(windows[2]))[0].is_greedy is True


class Scores(Strategy):
    """Gives back the scores it was given."""

    def __init__(self, scored) -> None:
        super().__init__(self.Options())
        self.scored = scored

    def generate(self, session, request):
        yield Emitted((50,) * request.max_new_tokens, None)

    def score(self, session, window, sampler=None):
        return self.scored


@pytest.mark.parametrize(
    ("scored", "words"),
    [
        (Scored((-1.0, -1.0), (50, 50, 50), None), "2 log-probabilities and 3 choices for 3 tokens"),
        (Scored((-1.0,) * 3, (50, 50), None), "3 log-probabilities and 2 choices for 3 tokens"),
        (Scored((-1.0, float("nan"), -1.0), (50,) * 3, None), "log-probability nan"),
        (Scored((-1.0, 0.5, -1.0), (50,) * 3, None), "log-probability 0.5"),
        (None, "NoneType"),
    ],
)
def test_scores_that_do_not_fit_are_failures(scored, words, worker_of, contender, score_request, request_for):
    worker = worker_of(contender("odd", Scores(scored)))
    (_, failed) = all_of(worker, score_request((PROMPT, (7, 8, 9))))
    assert words in failed.error
    assert failed.logprob is None
    fidelity = all_of(worker, request_for(PROMPT, max_new_tokens=3))[-1]
    assert words in fidelity.error
    assert fidelity.agreement is None


def test_scores_may_be_lists_and_an_impossible_token_is_minus_infinity(worker_of, contender, score_request):
    worker = worker_of(contender("odd", Scores(Scored([-1.0, float("-inf"), 0.0], [7, 8, 9], None))))
    (_, record) = all_of(worker, score_request((PROMPT, (7, 8, 9))))
    assert (record.error, record.logprob, record.is_greedy) == (None, float("-inf"), True)


class Stopping(Strategy):
    def generate(self, session, request):
        raise KeyboardInterrupt
        yield


def test_who_stops_the_run_is_not_taken_for_a_failure(worker_of, contender, request_for):
    worker = worker_of(contender("stopping", Stopping(Stopping.Options())))
    with pytest.raises(KeyboardInterrupt):
        all_of(worker, request_for(PROMPT))


class Unready(Strategy):
    def prepare(self, preparation):
        raise ZeroDivisionError("no prompts")


def test_a_strategy_that_cannot_calibrate_is_named(worker_of, contender):
    from lsbench.errors import LsbenchError

    with pytest.raises(LsbenchError, match="unready cannot calibrate: ZeroDivisionError: no prompts"):
        worker_of(contender("unready", Unready(Unready.Options())))


def test_warming_up_runs_everyone_briefly_and_survives_failures(worker_of, contender, request_for, scripted):
    seen = []

    class Watching(Strategy):
        def generate(self, session, request):
            seen.append(request.max_new_tokens)
            yield Emitted((50,) * request.max_new_tokens, None)

    worker = worker_of(contender("broken", scripted()), contender("w", Watching(Watching.Options())))
    worker.warm_up([request_for(PROMPT, max_new_tokens=500), request_for(PROMPT, max_new_tokens=3)])
    assert seen == [16, 3]
