"""From the command line of ``lsbench tune`` to a ``TuneSpec``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsbench.cli.flags import build_spec, explained
from lsbench.errors import BadInput, unknown
from lsbench.spec import RunSpec

if TYPE_CHECKING:
    from pydantic import JsonValue

    from lsbench.tuning.domains import Domain
    from lsbench.tuning.spec import TuneSpec

_UNITS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0, "": 1.0}
_DURATION = re.compile(r"(?:([0-9]*\.?[0-9]+)\s*(h|min|m|s)\s*)+")
_PART = re.compile(r"([0-9]*\.?[0-9]+)\s*(h|min|m|s)")
_NUMBER = re.compile(r"[0-9]*\.?[0-9]+")
_SEARCHES = ("hyperopt", "random", "grid")
_SKIP_SETS = ("choices", "ladder", "off")
_OWN = (
    "trials",
    "timed",
    "min_quality",
    "quality",
    "search",
    "grid_points",
    "skip_sets",
    "concurrency",
    "final_limit",
    "risk",
    "delta",
    "seed",
)
_FLAGS = {
    "time_budget_s": "--time-budget",
    "trial_timeout_s": "--trial-timeout",
    "objective": "--maximize",
    "run": "--strategy",
}
"""Fields whose flag is not the field's own name."""
CHANGEABLE = frozenset({"trials", "timed", "time_budget_s", "trial_timeout_s"})
"""What a search that goes on may be given anew: how long it goes on, not what it looks for."""


def build_tune_spec(given: Mapping[str, Any], base: TuneSpec | None = None) -> TuneSpec:
    """One spec from all that was given.

    Args:
        given: flags by their parameter's name, those not given left out.
        base: of the search that goes on; what is given must agree with it, but for ``CHANGEABLE``.

    Raises:
        BadInput: an unknown name (with the nearest valid one), a value out of range or ill-typed, flags that
            exclude each other, no strategy or several, no task.
    """
    from pydantic import ValidationError

    from lsbench.tuning.spec import TuneSpec

    fields: dict[str, Any] = {} if base is None else dict(base)
    fields.update({name: given[name] for name in _OWN if name in given})
    fields.update(_named(given))
    for name in ("time_budget", "trial_timeout"):
        if name in given:
            fields[f"{name}_s"] = read_duration(given[name], "--" + name.replace("_", "-"))
    fields["run"] = _run(given, None if base is None else base.run)
    spaces, fixed = _narrowing(given)
    if spaces or base is None:
        fields["space"] = spaces
    if "delta" in given and fields.get("risk") is None:
        raise BadInput("--delta says how sure --risk is to hold; give --risk too, such as --risk 0.05")
    try:
        spec = TuneSpec.model_validate(fields)
    except ValidationError as error:
        raise explained(error, _FLAGS) from error
    choice = spec.with_fixed(fixed)
    spec = spec.model_copy(update={"run": spec.run.model_copy(update={"strategies": (choice,)})})
    if base is not None:
        _check_same(base, spec)
    return spec


def read_duration(text: str, flag: str) -> float:
    """Seconds that ``90s``, ``20m``, ``1h30m`` or a bare number of seconds stand for.

    Raises:
        BadInput: another spelling, or no time at all.
    """
    written = text.strip().lower()
    if _NUMBER.fullmatch(written):
        seconds = float(written)
    elif _DURATION.fullmatch(written):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(written))
    else:
        raise BadInput(f"{flag} {text!r}: write a time such as 90s, 20m or 1h30m")
    if seconds <= 0:
        raise BadInput(f"{flag} {text!r} leaves no time; write a time such as 90s, 20m or 1h30m")
    return seconds


def _named(given: Mapping[str, Any]) -> dict[str, str]:
    """What must be one of a few names."""
    for name, known in (("search", _SEARCHES), ("skip_sets", _SKIP_SETS)):
        if name in given and given[name] not in known:
            raise unknown("--" + name.replace("_", "-"), given[name], known)
    if "minimize" in given and "maximize" in given:
        raise BadInput("--minimize and --maximize exclude each other: a search has one goal; leave one out")
    for flag, known in (("minimize", "tpot"), ("maximize", "speedup")):
        if flag not in given:
            continue
        if given[flag] != known:
            other = {"tpot": "--minimize tpot", "speedup": "--maximize speedup"}.get(given[flag])
            if other is not None:
                raise BadInput(f"--{flag} {given[flag]} looks for the worst; write {other}")
            raise unknown(f"--{flag}", given[flag], [known])
        return {"objective": known}
    return {}


def _run(given: Mapping[str, Any], base: RunSpec | None) -> RunSpec:
    """What is given of a run; one strategy."""
    own = {name: given[name] for name in given if name in RunSpec.model_fields or name == "model_args"}
    strategies = own.get("strategies", [] if base is None else base.strategies)
    if len(strategies) != 1:
        what = "No strategy" if not strategies else f"{len(strategies)} strategies"
        raise BadInput(f"{what} given, but a search is of one; give --strategy NAME once")
    return build_spec(own, base=base)


def _narrowing(given: Mapping[str, Any]) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """Where to look and what is fixed; flags go before the file."""
    from lsbench.tuning.narrowing import read_fixes, read_space_file, read_spaces

    spaces: dict[str, Domain] = {}
    fixed: dict[str, JsonValue] = {}
    if "space_file" in given:
        spaces, fixed = read_space_file(Path(given["space_file"]))
    by_flag, fixed_by_flag = read_spaces(given.get("space", ())), read_fixes(given.get("fix", ()))
    both = next((name for name in by_flag if name in fixed_by_flag), None)
    if both is not None:
        raise BadInput(f"Option {both!r} is both fixed and searched; leave out one of --fix and --space")
    for name in by_flag:
        fixed.pop(name, None)
    for name in fixed_by_flag:
        spaces.pop(name, None)
    written = {name: _written(domain) for name, domain in {**spaces, **by_flag}.items()}
    return written, {**fixed, **fixed_by_flag}


def _written(domain: Domain) -> JsonValue:
    """As ``narrowing.read_mapping`` reads it."""
    from lsbench.tuning.domains import Among

    return list(domain.values) if isinstance(domain, Among) else {"low": domain.low, "high": domain.high}


def _check_same(base: TuneSpec, spec: TuneSpec) -> None:
    """Refuse to go on with one search as another.

    Raises:
        BadInput: something differs that trials depend on.
    """
    before, now = ({**each.model_dump(), **each.run.model_dump()} for each in (base, spec))
    for name, value in now.items():
        if name not in CHANGEABLE and name not in ("run", "output") and value != before[name]:
            flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
            raise BadInput(
                f"{flag} differs from what the search was begun with ({_short(before[name])}, now "
                f"{_short(value)}): trials of both cannot be compared; begin a new search"
            )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
