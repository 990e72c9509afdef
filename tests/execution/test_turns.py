from lsbench.execution.turns import turns
from lsbench.spec import ScoreRequest, ScoreWindow


def shape(made):
    return [[(request.task, request.doc_id, request.repeat) for request in turn.requests] for turn in made]


def scored(doc_id):
    window = ScoreWindow(context=(1,), continuation=(2,))
    return ScoreRequest(
        task="s", doc_id=doc_id, arguments_sha256="", prompt="", target="", windows=(window,), rolling=False
    )


def test_alone_everything_keeps_its_place(request_for):
    requests = [request_for(doc_id=0), scored(1), request_for(doc_id=2)]
    made = turns(requests, 1)
    assert [turn.requests for turn in made] == [(request,) for request in requests]
    assert [turn.index for turn in made] == [0, 1, 2]
    assert {(turn.batch, turn.size) for turn in made} == {(None, 1)}


def test_the_last_batch_may_be_smaller(request_for):
    made = turns([request_for(doc_id=i) for i in range(5)], 2)
    assert shape(made) == [[("t", 0, 0), ("t", 1, 0)], [("t", 2, 0), ("t", 3, 0)], [("t", 4, 0)]]
    assert [(turn.batch, turn.size) for turn in made] == [(0, 2), (1, 2), (2, 1)]


def test_a_batch_holds_the_same_prompts_at_every_repeat(request_for):
    requests = [request_for(doc_id=i).model_copy(update={"repeat": k}) for i in range(3) for k in range(2)]
    made = turns(requests, 2)
    by_batch = {(turn.batch, turn.requests[0].repeat): [r.doc_id for r in turn.requests] for turn in made}
    assert by_batch == {(0, 0): [0, 1], (0, 1): [0, 1], (1, 0): [2], (1, 1): [2]}


def test_scores_are_never_batched_and_a_batch_ends_with_its_task(request_for):
    other = request_for(doc_id=7).model_copy(update={"task": "u"})
    made = turns([request_for(doc_id=0), other, scored(1), scored(2)], 4)
    assert shape(made) == [[("t", 0, 0)], [("u", 7, 0)], [("s", 1, 0)], [("s", 2, 0)]]
    assert [turn.batch for turn in made] == [0, 0, None, None]
