"""Options: they read back as they are written, say what they are, refuse what is wrong, and act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from pydantic import JsonValue

from lsbench.errors import BadInput
from lsbench.option_text import write_value
from lsbench.spec import Sampling, ScoreWindow, StrategyChoice, parse_strategy
from lsbench.strategy.conformance.bench import Bench, Subject
from lsbench.strategy.conformance.observation import observe, score
from lsbench.strategy.conformance.result import Failed, NotApplicable
from lsbench.strategy.conformance.values import other_values, out_of_bounds, searched, wrong_types
from lsbench.strategy.options import StrategyOptions, StrategyReference
from lsbench.strategy.registry import resolve

Options = Mapping[str, JsonValue]

_TOKENS = 16
"""Decoded in each request that an option is tried on."""
_SETTINGS = 40
"""Settings of the other options in which an option is given a chance to act."""


def read_back(subject: Subject) -> str:
    """Options as text read back as the same options, for every value that could be tried."""
    count = 0
    for changed in chain([{}], _single_changes(subject)):
        options = _accepted(subject, changed)
        if options is None:
            continue
        written = StrategyChoice(name=subject.choice.name, options=_as_given(options))
        again = resolve(parse_strategy(written.label)).options
        if again != options:
            raise Failed(f"{written.label!r} reads back as {again}, and was {options}")
        count += 1
    return f"{count} settings"


def told_and_bounded(subject: Subject) -> str:
    """Every option has help; what is unknown, out of bounds or of another type is refused."""
    model = subject.strategy.Options
    for name, field in model.model_fields.items():
        if not (field.description or "").strip():
            raise Failed(f"option {name} has no help; declare it with option(..., help=...)")
        for value in (*out_of_bounds(field), *wrong_types(field)):
            if _accepted(subject, {name: value}) is not None:
                raise Failed(f"{name}={write_value(value)} is accepted")
    if _accepted(subject, {"no_such_option": 1}) is not None:
        raise Failed("an option that does not exist is accepted; keep extra='forbid' in the options model")
    for name, space in model.search_spaces().items():
        for value in searched(space, subject.bench.stack.num_layers):
            if not any(_accepted(subject, {**setting, name: value}) for setting in _settings(subject, name)):
                raise Failed(f"{name}={write_value(value)} is in the search space, but refused")
    return f"{len(model.model_fields)} options"


def every_option_acts(subject: Subject) -> str:
    """Each option changes something that can be seen, or nothing if it declares that it changes cost only."""
    model = subject.strategy.Options
    if not model.model_fields:
        raise NotApplicable("it has no options")
    probes = _Probes(subject)
    for name in model.model_fields:
        if name in model.cost_only():
            _changes_nothing(subject, probes, name)
        else:
            _acts(subject, probes, name)
    cost = f", {len(model.cost_only())} of them on cost only" if model.cost_only() else ""
    return f"{len(model.model_fields)} options{cost}"


def _acts(subject: Subject, probes: _Probes, name: str) -> None:
    values = other_values(subject.strategy.Options, name, subject.bench.stack.num_layers)
    tried: dict[str, None] = {}
    for setting in _settings(subject, name):
        unchanged = _accepted(subject, setting)
        for value in values:
            changed = {**setting, name: value}
            # Cheap to ask, and most settings end here.
            if unchanged is None or _accepted(subject, changed) in (None, unchanged):
                continue
            differ = probes.differ(setting, changed)
            if differ:
                return
            if differ is not None:
                tried[write_value(value)] = None
    if not tried:
        raise Failed(
            f"no other value of {name} could be tried; declare option(..., search=...) "
            "or option(..., examples=[...])"
        )
    raise Failed(
        f"{name} changes nothing: tried {', '.join(list(tried)[:6])}, and tokens, scores, depth and drafts "
        'stay the same (if it only changes cost, declare option(..., changes="cost"))'
    )


def _changes_nothing(subject: Subject, probes: _Probes, name: str) -> None:
    for value in other_values(subject.strategy.Options, name, subject.bench.stack.num_layers):
        if probes.differ({}, {name: value}):
            raise Failed(
                f"{name} is declared to change cost only, but {name}={write_value(value)} changes more"
            )


def _single_changes(subject: Subject, but: str | None = None) -> Iterator[Options]:
    """Each option changed alone."""
    model = subject.strategy.Options
    for name in model.model_fields:
        if name != but:
            for value in other_values(model, name, subject.bench.stack.num_layers):
                yield {name: value}


def _settings(subject: Subject, but: str) -> Iterator[Options]:
    """No change, then other options changed one at a time, each one's first value before any's second.

    Options may depend on one another (a second threshold acts only where there is a second rung).
    """
    by_option: dict[str, list[Options]] = {}
    for change in _single_changes(subject, but):
        by_option.setdefault(next(iter(change)), []).append(change)
    yield {}
    count = 1
    for rank in range(max((len(changes) for changes in by_option.values()), default=0)):
        for changes in by_option.values():
            if rank < len(changes) and count < _SETTINGS:
                count += 1
                yield changes[rank]


def _accepted(subject: Subject, changed: Options) -> StrategyOptions | None:
    """The options as the strategy holds them, or None when they are refused."""
    try:
        return subject.make_unprepared(changed).options
    except BadInput:
        return None


def _as_given(options: StrategyOptions) -> dict[str, JsonValue]:
    """As a person would give all of them; a reference's own options as ``draft.key``."""
    given: dict[str, JsonValue] = options.model_dump(mode="json")
    for name in type(options).model_fields:
        value: object = getattr(options, name)
        if isinstance(value, StrategyReference):
            given[name] = value.name
            given.update({f"{name}.{key}": inner for key, inner in value.options.items()})
    return given


class _Probes:
    """What a few requests look like under some options; each setting is run once.

    They are made of a small model, on which whether an option acts shows as well as on another, and of one
    that knows few tokens, whose text therefore repeats itself in every way.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._benches = (subject.bench.small, subject.bench.few_tokens)
        self._seen: dict[tuple[int, str], object] = {}

    def differ(self, one: Options, other: Options) -> bool | None:
        """Whether anything visible differs; None when strategy or model refuses either."""
        answer: bool | None = None
        for place in range(len(self._benches)):
            before, after = self._see(place, one), self._see(place, other)
            if before is not None and after is not None:
                answer = before != after
            if answer:
                break
        return answer

    def _see(self, place: int, changed: Options) -> object | None:
        key = place, write_value(dict(changed))
        if key not in self._seen:
            with self._benches[place].threads():
                self._seen[key] = self._look(self._benches[place], changed)
        return self._seen[key]

    def _look(self, bench: Bench, changed: Options) -> object | None:
        """Everything visible, or None."""
        try:
            strategy = self._subject.make(changed, bench)
        except BadInput:
            return None
        tokens = min(_TOKENS, bench.max_new_tokens)
        requests = (
            bench.request(0, max_new_tokens=tokens),
            bench.request(1, max_new_tokens=tokens),
            bench.request(2, max_new_tokens=tokens),
            bench.request(2, Sampling(temperature=0.8), seed=5, max_new_tokens=tokens),
        )
        observed = tuple(observe(strategy, bench.stack, request) for request in requests)
        # Any text will do, as long as it is the same under all options.
        window = ScoreWindow(context=bench.prompts[0], continuation=bench.prompts[2][:tokens])
        return (*observed, score(strategy, bench.stack, window))
