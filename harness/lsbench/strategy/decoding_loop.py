"""Which of the core's loops a strategy decodes with, and what it hands to it.

Whoever decodes under a policy, or has drafts verified, by the core's own loop can be judged without running
that loop, whoever wrote the strategy. One with a loop of its own can only be timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import getgeneratorlocals, isgenerator
from types import CodeType
from typing import Any, cast

from lsbench.engine import DepthPolicy, Session
from lsbench.spec import GenerateRequest
from lsbench.strategy import Draft, Strategy
from lsbench.strategy.drafting import speculate
from lsbench.strategy.loops import decode


@dataclass(frozen=True)
class Decoding:
    """Token by token under ``policy``, made for one request."""

    policy: DepthPolicy


@dataclass(frozen=True)
class Speculation:
    """``draft``, made for one request, proposes; the full model verifies.

    Attributes:
        draft: the strategy's.
        num_speculations: K, drafted in a cycle at most.
        adaptive: whether fewer are drafted where measured costs say so.
    """

    draft: Draft
    num_speculations: int
    adaptive: bool


def loop_of(strategy: Strategy, session: Session, request: GenerateRequest) -> Decoding | Speculation | None:
    """What the strategy would decode the request with; None for a loop of its own.

    Nothing of the loop is run: it is a generator, whose arguments are looked at.

    Args:
        strategy: prepared.
        session: an empty one, which stays so.
        request: to be continued.
    """
    loop = strategy.generate(session, request)
    code = _code_of(loop)
    if code is None or code not in (_code(decode), _code(speculate)):
        return None
    given = getgeneratorlocals(cast(Any, loop))
    if code is _code(decode):
        return Decoding(given["policy"])
    return Speculation(given["draft"], given["num_speculations"], given["adaptive"])


def _code_of(loop: Iterator[object]) -> CodeType | None:
    return loop.gi_code if isgenerator(loop) else None


def _code(function: Callable[..., object]) -> CodeType:
    return cast(CodeType, cast(Any, function).__code__)
