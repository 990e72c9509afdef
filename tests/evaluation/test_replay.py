"""Records in the place of a model: the right answer or none."""

import pytest

from lsbench.errors import ReplayMiss
from lsbench.evaluation.replay import ReplayModel
from lsbench.records import SampleRecord
from lsbench.spec import arguments_hash

ARGUMENTS = ("prompt", {"until": ["\n"]})


def record(kind="generate", doc_id=0, idx=0, repeat=0, arguments=ARGUMENTS, **answer):
    return SampleRecord(
        strategy="s",
        options={},
        label="s",
        task="t",
        doc_id=doc_id,
        idx=idx,
        repeat=repeat,
        kind=kind,
        arguments_sha256=arguments_hash(arguments),
        prompt="prompt",
        prompt_tokens=1,
        **answer,
    )


def instance(request_type="generate_until", doc_id=0, idx=0, arguments=ARGUMENTS):
    from lm_eval.api.instance import Instance

    return Instance(request_type, {}, arguments, idx, metadata=("t", doc_id, 1))


def replay(*records, documents=(0, 1)):
    return ReplayModel("t", {(r.doc_id, r.idx, r.repeat): r for r in records}, documents)


def test_a_request_that_comes_again_gets_the_next_repeat():
    model = replay(*(record(repeat=i, text=f"answer {i}") for i in range(3)))
    again = instance()
    assert model.generate_until([again] * 3) == ["answer 0", "answer 1", "answer 2"]
    assert model.generate_until([again]) == ["answer 0"]


def test_a_log_likelihood_that_comes_again_is_the_same():
    model = replay(record(kind="score", logprob=-1.5, is_greedy=True))
    asked = instance("loglikelihood")
    assert model.loglikelihood([asked, asked]) == [(-1.5, True), (-1.5, True)]
    assert model.loglikelihood_rolling([instance("loglikelihood_rolling")]) == [-1.5]


def test_renumbered_documents_are_mapped_back():
    model = replay(record(doc_id=4, text="four"), record(doc_id=7, text="seven"), documents=(4, 7))
    assert model.generate_until([instance(doc_id=0), instance(doc_id=1)]) == ["four", "seven"]


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ((), "no stored record answers it"),
        ((record(error="out of memory"),), "failed .out of memory."),
        ((record(text="x", arguments=("another", {})),), "answers another request"),
        ((record(),), "has no answer"),
    ],
)
def test_a_miss_is_loud(stored, said):
    with pytest.raises(ReplayMiss, match=f"'t', document 0.*{said}"):
        replay(*stored).generate_until([instance()])


def test_a_document_lm_eval_invents_is_a_miss():
    with pytest.raises(ReplayMiss, match="document 2"):
        replay(record(text="x")).generate_until([instance(doc_id=2)])
