"""The cause is told from what follows from it."""

from lsbench.engine.agreement import Disagreement
from lsbench.errors import BadInput
from lsbench.execution.cluster.failure import Failure, Lost, verdict
from lsbench.execution.cluster.rank import Where

WHERES = {rank: Where("node", "here", "127.0.0.1", 100 + rank, "0.1") for rank in range(2)}


class Raised(Exception):
    """As Ray wraps what a rank raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"Traceback: {cause}")
        self.cause = cause


def told(*failures: Failure) -> Lost:
    found = verdict(failures, 3, WHERES)
    assert isinstance(found, Lost)
    return found


def test_a_death_is_why_the_other_ranks_sum_failed():
    lost = told(
        Failure(0, "lead", Raised(RuntimeError("Connection closed by peer"))),
        Failure(1, "follow", ConnectionError("the actor died")),
    )
    assert lost.reason == "rank 1 of replica 3 died (process 101 on here)"


def test_a_rank_that_failed_alone_is_why_the_others_did():
    lost = told(
        Failure(1, "follow", Raised(RuntimeError("Timed out"))),
        Failure(0, "lead", Raised(Disagreement("Rank 0 failed where others did not: no luck"))),
    )
    assert "rank 0 of replica 3 failed" in lost.reason
    assert "no luck" in lost.reason
    assert lost.trace.startswith("Traceback")


def test_a_host_that_is_gone_is_said():
    lost = told(Failure(1, "follow", ConnectionError("The actor died because its node has died.")))
    assert lost.reason.endswith("on here): its host is gone")


def test_what_was_asked_wrongly_is_no_loss_unless_it_runs():
    refused = BadInput("cut for 2 ranks, it predicts otherwise")
    assert verdict([Failure(1, "load", Raised(refused))], 0, {}) is refused
    assert "BadInput" in told(Failure(1, "follow", Raised(refused))).reason
