"""The space of a strategy, from its own options model: any registered one's, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

import numpy as np
from pydantic import JsonValue
from pydantic.fields import FieldInfo

from lsbench.errors import BadInput, unknown
from lsbench.option_text import write_value
from lsbench.spec import StrategyChoice
from lsbench.strategy import Choice, Drafters, FloatRange, IntRange, StrategyReference, registry
from lsbench.strategy.options import SearchSpace
from lsbench.tuning import skip_sets as skipping
from lsbench.tuning.coordinates import GATE, Assignment, Dimension, Fixed, Point, Searched, When
from lsbench.tuning.domains import Among, Domain, Real, Token, Whole, alike, among
from lsbench.tuning.skip_sets import SkipSets
from lsbench.tuning.spaces import Space

_DRAWS = 100
"""Settings of the other options in which a value is given a chance, when simpler ones refuse it."""


def build_space(
    strategy: StrategyChoice,
    num_layers: int,
    narrowed: Mapping[str, Domain] | None = None,
    skip_sets: SkipSets | None = None,
) -> Space:
    """The space of a strategy on a model of L layers.

    An option that may be left to a default outside its range is searched with a coordinate of its own that
    says whether it is given. Each strategy that an option may name brings its own options as ``option.key``.

    Args:
        strategy: its name, and the options that are fixed.
        num_layers: L.
        narrowed: where else to look than the options declare, by option; one that declares nothing can be
            searched that way, too.
        skip_sets: how to search options named ``skip_set``; None leaves them alone.

    Raises:
        BadInput: an unknown name (with the nearest valid one), a value that no setting of the other options
            takes, an option both fixed and searched, one that must be given and is not, or nothing left to
            search.
    """
    walk = _Walk(num_layers, strategy.options, narrowed or {}, skip_sets)
    walk.enter(strategy.name, "", "", (), (strategy.name,))
    for flag, names in (("--fix", walk.fixed), ("--space", walk.narrowed)):
        for name in names:
            if name not in walk.names:
                raise unknown(f"option of {strategy.name!r} in {flag}", name, walk.names)
    both = next((name for name in walk.narrowed if name in walk.fixed), None)
    if both is not None:
        raise BadInput(f"Option {both!r} is both fixed and searched; leave out one of --fix and --space")
    space = _without_refused(walk.space(strategy.name), walk.narrowed)
    if not space.dimensions:
        raise BadInput(
            f"Nothing to search: strategy {strategy.name!r} has no option left that declares where to look. "
            f"Its options: {', '.join(sorted(walk.names)) or 'none'}; give --space NAME=LOW..HIGH or NAME=a,b"
        )
    return space


class _Walk:
    """Goes through a strategy's options, and those of every strategy that one of them may name."""

    def __init__(
        self,
        num_layers: int,
        fixed: Mapping[str, JsonValue],
        narrowed: Mapping[str, Domain],
        skip_sets: SkipSets | None,
    ) -> None:
        self.num_layers = num_layers
        self.fixed = fixed
        self.narrowed = narrowed
        self.names: set[str] = set()
        self._skip_sets = skip_sets
        self._dimensions: list[Dimension] = []
        self._assignments: list[Assignment] = []
        self._hints: list[Point] = []

    def space(self, strategy: str) -> Space:
        """What was found."""
        return Space(
            strategy, self.num_layers, tuple(self._dimensions), tuple(self._assignments), tuple(self._hints)
        )

    def enter(self, name: str, prefix: str, suffix: str, when: When, chain: tuple[str, ...]) -> None:
        """Take in the options of one strategy.

        Args:
            name: its name.
            prefix: what stands before its options' names.
            suffix: what ends the keys of its coordinates, so that they differ from another drafter's.
            when: where it is the one that was named.
            chain: it and those that name it; none is entered within itself.
        """
        model = registry.load_strategy(name).Options
        spaces, references = model.search_spaces(), model.reference_fields()
        # References first: what they are decides which options there are.
        for option, field in sorted(model.model_fields.items(), key=lambda item: item[0] not in references):
            full = prefix + option
            self.names.add(full)
            if option in references:
                self._reference(full, field, spaces.get(option), suffix, when, chain)
            elif when and _declared_above(full, chain):
                continue
            else:
                self._option(full, field, spaces.get(option), suffix, when)

    def _reference(
        self,
        full: str,
        field: FieldInfo,
        declared: SearchSpace | None,
        suffix: str,
        when: When,
        chain: tuple[str, ...],
    ) -> None:
        default = field.default.name if isinstance(field.default, StrategyReference) else None
        given = self.narrowed.get(full)
        if full in self.fixed:
            names = [self.fixed[full]]
        elif isinstance(given, Among):
            names = list(given.values)
        elif isinstance(declared, Drafters):
            names = [name for name in declared.names() if name not in chain]
        else:
            names = [] if default is None else [default]
        for name in names:
            if not isinstance(name, str):
                raise BadInput(f"{full} must be the name of a strategy, not {write_value(name)}")
        strategies = cast("list[str]", names)
        key = full + suffix
        if len(strategies) > 1:
            domain = among(names)
            drawn = Dimension(key, full, domain, domain.nearest(default), when)
            self._dimensions.append(drawn)
            self._assignments.append(Searched(drawn, default))
            for name in strategies:
                self.enter(name, f"{full}.", f"{suffix}@{name}", (*when, (key, name)), (*chain, name))
        elif strategies:
            if full in self.fixed or strategies[0] != default:
                self._assignments.append(Fixed(full, when, strategies[0]))
            self.enter(strategies[0], f"{full}.", suffix, when, (*chain, strategies[0]))

    def _option(
        self, full: str, field: FieldInfo, declared: SearchSpace | None, suffix: str, when: When
    ) -> None:
        key = full + suffix
        if full in self.fixed:
            self._assignments.append(Fixed(full, when, self.fixed[full]))
            return
        given = self.narrowed.get(full)
        if self._skip_sets is not None and given is None and full.split(".")[-1] == skipping.OPTION:
            dimensions, assignment, hints = self._skip_sets.coordinates(full, key, when)
            self._dimensions += dimensions
            self._assignments.append(assignment)
            self._hints += [{**dict(when), **hint} for hint in hints]
            return
        wanted = self._domain(declared) if given is None else _like_declared(full, given, declared)
        if wanted is None:
            # Among several drafters one that cannot be had is passed over.
            if field.is_required() and not when:
                raise BadInput(
                    f"Option {full!r} has no default and does not say where to look: give --fix {full}=VALUE "
                    f"or --space {full}=LOW..HIGH"
                )
            return
        default = None if field.is_required() else field.default
        optional = given is None and not field.is_required() and default is None
        if optional and isinstance(wanted, Among):
            wanted = among([None, *wanted.values])
        if wanted.ends[0] == wanted.ends[-1]:
            self._assignments.append(Fixed(full, when, wanted.read(wanted.ends[0])))
            return
        gate = None
        if optional and not isinstance(wanted, Among):
            gate = key + GATE
            self._dimensions.append(Dimension(gate, full, Among((False, True)), False, when))
            when = (*when, (gate, True))
        dimension = Dimension(key, full, wanted, _start(wanted, default), when)
        self._dimensions.append(dimension)
        self._assignments.append(Searched(dimension, default, gate))

    def _domain(self, declared: SearchSpace | None) -> Domain | None:
        """What an option declares, for this model."""
        if isinstance(declared, IntRange):
            high = self.num_layers if declared.high is None else declared.high
            return Whole(min(declared.low, high), high)
        if isinstance(declared, FloatRange):
            return Real(declared.low, declared.high)
        if isinstance(declared, Choice):
            return among(declared.values)
        return None


def _declared_above(full: str, chain: tuple[str, ...]) -> bool:
    """Whether the strategy itself declares an option that has the name of one of its draft's."""
    return len(chain) > 1 and full in registry.load_strategy(chain[0]).Options.model_fields


def _like_declared(name: str, given: Domain, declared: SearchSpace | None) -> Domain:
    """Whole numbers are numbers, too: ``threshold=0..1`` means all between.

    Raises:
        BadInput: the option takes whole numbers only, and the ends are others.
    """
    if isinstance(given, Whole) and isinstance(declared, FloatRange):
        return Real(float(given.low), float(given.high))
    if isinstance(given, Real) and isinstance(declared, IntRange):
        raise BadInput(f"--space {name}={given.low:g}..{given.high:g}: {name} takes whole numbers only")
    return given


def _start(domain: Domain, default: JsonValue) -> Token:
    """The default where there is one, the nearest where it was narrowed away; else well up the range.

    Deep exits and few tokens left out cost little quality: three quarters along is seldom a bad place.
    """
    if isinstance(domain, Among):
        return domain.nearest(default)
    nearest = domain.nearest(default)
    return domain.at(0.75) if nearest is None else nearest


def _without_refused(space: Space, narrowed: Mapping[str, Domain]) -> Space:
    """The space less the values that no setting of the other options takes.

    Raises:
        BadInput: a value that somebody asked for is among them, or nothing is accepted at all.
    """
    reason = _refused_everywhere(space, {})
    if reason is not None:
        raise BadInput(reason)
    searched = {each.dimension.key for each in space.assignments if isinstance(each, Searched)}
    refused: dict[str, list[Token]] = {}
    for dimension in space.dimensions:
        if dimension.key not in searched:
            continue
        for token in dimension.domain.ends:
            reason = _refused_everywhere(space, {**dict(dimension.when), dimension.key: token})
            if reason is None:
                continue
            if dimension.option in narrowed:
                raise BadInput(f"--space {dimension.option} goes out of bounds: {reason}")
            refused.setdefault(dimension.key, []).append(token)
    for key, tokens in refused.items():
        space = _less(space, key, tokens)
    return space


def _refused_everywhere(space: Space, wanted: Point) -> str | None:
    """Why a few coordinates cannot have some values, whatever the others have; None where they can."""
    point = space.filled(wanted)
    first = space.refusal(point)
    if first is None or any(space.refusal(changed) is None for changed in _changed(space, point, wanted)):
        return None
    return first


def _changed(space: Space, point: Point, wanted: Point) -> Iterator[Point]:
    for dimension in space.dimensions:
        if dimension.key in wanted:
            continue
        for token in dimension.domain.spread(2):
            yield {**point, dimension.key: token}
    for hint in space.hints:
        yield {**point, **hint, **wanted}
    random = np.random.default_rng(0)
    for _ in range(_DRAWS):
        yield {**space.draw(random), **wanted}


def _less(space: Space, key: str, tokens: list[Token]) -> Space:
    """The space without some values of one coordinate; of a range, its refused ends."""
    at = next(place for place, dimension in enumerate(space.dimensions) if dimension.key == key)
    old = space.dimensions[at]
    domain = old.domain
    if isinstance(domain, Among):
        pairs = zip(domain.tokens, domain.values, strict=True)
        kept = [value for token, value in pairs if not any(alike(token, other) for other in tokens)]
        smaller: Domain = Among(tuple(kept))
    elif isinstance(domain, Whole):
        # One refused end is a bound that the options model states too late (1..L-1); more is for the search.
        smaller = Whole(domain.low + (domain.low in tokens), domain.high - (domain.high in tokens))
    else:
        return space
    new = replace(old, domain=smaller, start=_start(smaller, old.start))
    governs = any(key == governing for dimension in space.dimensions for governing, _ in dimension.when)
    only = smaller.ends[0] == smaller.ends[-1] and not governs
    fixed = Fixed(old.option, old.when, smaller.read(smaller.ends[0]))
    assignments = tuple(
        (fixed if only else replace(each, dimension=new))
        if isinstance(each, Searched) and each.dimension.key == key
        else each
        for each in space.assignments
    )
    kept_dimensions = () if only else (new,)
    dimensions = (*space.dimensions[:at], *kept_dimensions, *space.dimensions[at + 1 :])
    return replace(space, dimensions=dimensions, assignments=assignments)
