"""The backend of one process gives what a worker gives."""

import pytest

from lsbench.errors import BadInput
from lsbench.execution.backend import backend_for
from lsbench.execution.local import LocalBackend
from lsbench.execution.setup import Setup
from lsbench.report.live import LiveView
from lsbench.spec import RunSpec, StrategyChoice
from support.models import single_thread

REQUESTS = [(0, (5, 6, 7)), (1, (9, 8, 7, 6))]


@pytest.fixture(scope="module")
def setup(tiny_model) -> Setup:
    return Setup(
        model=str(tiny_model),
        path=str(tiny_model),
        sha256="0",
        dtype="float64",
        device="cpu",
        baseline=StrategyChoice(name="autoregressive"),
        others=(StrategyChoice(name="static_exit", options={"exit_layer": 2}),),
        segment=3,
    )


@pytest.fixture
def backend():
    spec = RunSpec(strategies=(), tasks=())
    with backend_for(spec, LiveView(quiet=True)) as made:
        yield made


def answers(records):
    return {record.key: (record.token_ids, record.agreement, record.error) for record in records}


def test_one_process_is_the_default_and_gives_what_its_worker_gives(
    backend, setup, request_for, tiny_stack, tiny_tokenizer, tmp_path
):
    assert isinstance(backend, LocalBackend)
    requests = [request_for(prompt, doc_id=doc) for doc, prompt in REQUESTS]
    with single_thread():
        assert backend.connect("cpu", None).backend == "local"
        backend.start(setup, requests[:1], tmp_path)
        records = list(backend.run(requests, set(), {}, []))
        worker = setup.worker(tiny_stack, tiny_tokenizer, setup.contenders())
        worker.prepare()
        expected = [record for turn in worker.turns(requests) for record in worker.run(turn, set(), {})]
        assert answers(records) == answers(expected)
        assert {(record.segment, record.replica, record.attempt) for record in records} == {(3, 0, 1)}
        assert len(records) == 6
        # What is finished is not run again, and what was made before is looked at.
        outputs = [record for record in records if record.kind == "generate"]
        again = list(backend.run(requests, {record.key for record in outputs}, {}, outputs))
        assert {record.kind for record in again} == {"fidelity"}
        assert answers(again).items() <= answers(records).items()
        assert backend.costs(requests[0])[0].layer_s > 0
    assert backend.facts() == ()
    assert list(tmp_path.iterdir()) == []


def test_a_setup_crosses_processes_and_names_what_is_not_installed(setup):
    again = Setup.model_validate_json(setup.model_dump_json())
    assert again == setup
    assert [contender.label for contender in again.contenders()] == [
        "autoregressive",
        "static_exit:exit_layer=2",
    ]
    unknown = setup.model_copy(update={"others": (StrategyChoice(name="static_exitt"),)})
    with pytest.raises(BadInput, match="static_exit"):
        unknown.contenders()


def test_variables_that_choose_how_to_compute_go_along_and_those_of_the_host_stay(setup, monkeypatch):
    monkeypatch.setenv("LSBENCH_PRODUCTS", "torch")
    monkeypatch.setenv("LSBENCH_CACHE", "/somewhere/else")
    there = setup.model_copy(update={"environment": {"LSBENCH_CUDA_GRAPHS": "0"}})
    import os

    there.set_environment()
    try:
        chosen = {name: value for name, value in os.environ.items() if name.startswith("LSBENCH_")}
        assert chosen == {"LSBENCH_CUDA_GRAPHS": "0", "LSBENCH_CACHE": "/somewhere/else"}
    finally:
        os.environ.pop("LSBENCH_CUDA_GRAPHS", None)
