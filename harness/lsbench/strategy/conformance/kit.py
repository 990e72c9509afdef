"""The kit itself: which checks there are, on what they run, and what becomes of an error."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from lsbench.errors import unknown
from lsbench.spec import StrategyChoice, parse_strategy
from lsbench.strategy.conformance import (
    imports,
    limits,
    lossless,
    options,
    ranks,
    repeating,
    scoring,
    together,
)
from lsbench.strategy.conformance.bench import Bench, Subject, random_bench
from lsbench.strategy.conformance.choices import complete
from lsbench.strategy.conformance.result import CheckResult, Failed, NotApplicable, Report, Status
from lsbench.strategy.registry import load_strategy


@dataclass(frozen=True)
class Check:
    """One claim about every strategy; ``run`` returns what it rests on, or raises ``Failed``."""

    name: str
    run: Callable[[Subject], str]

    @property
    def claim(self) -> str:
        """In a sentence."""
        return (self.run.__doc__ or "").strip()


CHECKS: tuple[Check, ...] = (
    Check("public names", imports.public_names_only),
    Check("options read back", options.read_back),
    Check("options told and bounded", options.told_and_bounded),
    Check("every option acts", options.every_option_acts),
    Check("seeds", repeating.seeds),
    Check("global random state", repeating.global_random_state),
    Check("no state between requests", repeating.state_between_requests),
    Check("batch", together.batch),
    Check("ranks", ranks.agree),
    Check("token limit", limits.token_limit),
    Check("stop ids", limits.stop_ids),
    Check("session", limits.session_left),
    Check("depth", limits.depth),
    Check("score agrees with generate", scoring.agreement),
    Check("score adds up", scoring.distribution),
    Check("lossless, greedy", lossless.greedy),
    Check("lossless, sampled", lossless.sampled),
)


def check_strategy(
    strategy: str,
    bench: Bench | None = None,
    only: Collection[str] = (),
    on_result: Callable[[CheckResult], None] | None = None,
    on_begin: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Check an installed strategy against all that the contract says.

    Args:
        strategy: ``NAME`` or ``NAME:key=value,...``, as ``--strategy`` takes it.
        bench: what to run it on; None is a small random model, which takes seconds.
        only: names of the checks to make (as in the report); none means all of them.
        on_result: called after each check.
        on_begin: called before each check with its name, how many were made before, and how many there are.

    Returns:
        a report; ``report.ok`` says whether all held, ``str(report)`` is a checklist.

    Raises:
        BadInput: an unknown name, or options that the strategy or the model refuses.
    """
    names = [check.name for check in CHECKS]
    for name in only:
        if name not in names:
            raise unknown("check", name, names)
    bench = bench or random_bench()
    results: list[CheckResult] = []
    with bench.threads():
        subject = _subject(parse_strategy(strategy), bench)
        subject.make()  # options that the model refuses are told as such, once
        chosen = [check for check in CHECKS if not only or check.name in only]
        for check in chosen:
            if on_begin is not None:
                on_begin(check.name, len(results), len(chosen))
            results.append(_run(subject, check))
            if on_result is not None:
                on_result(results[-1])
    return Report(subject.choice.label, bench.description, tuple(results))


def _run(subject: Subject, check: Check) -> CheckResult:
    begin = time.perf_counter()
    status: Status
    try:
        status, detail = "held", check.run(subject)
    except NotApplicable as reason:
        status, detail = "not applicable", str(reason)
    except Failed as reason:
        status, detail = "failed", str(reason)
    except Exception as error:  # whatever a plugin raises is a finding
        message = " ".join(str(error).split()) or "no message"
        status, detail = "failed", f"{type(error).__name__}: {message}"
    return CheckResult(check.name, check.claim, status, detail, time.perf_counter() - begin)


def _subject(choice: StrategyChoice, bench: Bench) -> Subject:
    options = complete(choice.name, choice.options, bench.stack.num_layers)
    return Subject(StrategyChoice(name=choice.name, options=options), load_strategy(choice.name), bench)
