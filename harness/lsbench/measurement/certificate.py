"""Whether sampled output has the full model's distribution: chi-square tests of what the run looked at.

Two tests a strategy (``execution/certificate.py`` says what each is of). Each refutes the claim where chance
alone would give so bad a fit to one run in 1 / ``LEVEL``, over all strategies together: p-values are
multiplied by the number of tests that the run makes (Bonferroni; Dunn, "Multiple Comparisons Among Means",
1961). The chi-square distribution is an approximation, which so far out in its tail errs by a factor of 1.5
at most (by simulation, at these cell sizes); a false alarm in one run of a thousand is what is promised.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import cast

from lsbench.metrics import Certificate, DistributionTest
from lsbench.records import SampleRecord

FALSE_ALARM = 1e-3
"""Share of runs, of those whose strategies are all lossless, in which any of them is refuted: at most."""
LEVEL = FALSE_ALARM / 2
"""What a corrected p-value must be below: half, because the test's distribution is an approximation."""
POWER = 0.9
"""Chance with which the shift that is told would have been found."""
_BINS = 10
_LEAST_EXPECTED = 5


def certificates(
    records: Sequence[SampleRecord], labels: Collection[str]
) -> Mapping[str, Certificate | None]:
    """Test every strategy of a run that claims to be lossless; None where nothing was sampled, or too little.

    Args:
        records: all records; those of kind ``certificate`` are read.
        labels: of the strategies.
    """
    looks = {
        label: [r for r in records if r.kind == "certificate" and r.label == label and r.error is None]
        for label in labels
    }
    made = sum(
        test is not None for own in looks.values() for test in (_counted_places(own), _counted_draws(own))
    )
    return {label: _certificate(own, made) for label, own in looks.items()}


def about_certificate(
    label: str, certificate: Certificate | None, records: Sequence[SampleRecord]
) -> list[str]:
    """What a certificate rests on, or why there is none though the run sampled."""
    looks = [record for record in records if record.kind == "certificate" and record.label == label]
    said: list[str] = []
    failed = [record.error for record in looks if record.error is not None]
    if failed:
        said.append(
            f"{label}: {len(failed)} of its {len(looks)} sampled outputs could not be looked at, the first "
            f"because of: {failed[0]}"
        )
    if certificate is None:
        if looks:
            said.append(f"{label}: too few tokens were sampled to test its claim to be lossless.")
        return said
    parts: list[str] = []
    if (test := certificate.outputs) is not None:
        parts.append(f"{test.tokens:,} tokens of its outputs ({_power(test)})")
    if (test := certificate.draws) is not None:
        spots = f"{certificate.spots} beginning{'s' * (certificate.spots != 1)}"
        parts.append(f"{test.tokens:,} tokens of {certificate.drawn:,} draws after {spots} ({_power(test)})")
    said.append(
        f"{label}: what it samples was tested against the full model's exact distribution, over "
        f"{' and '.join(parts)}; a shift as large as named is found with a chance of {POWER:.0%}."
    )
    return said


def _power(test: DistributionTest) -> str:
    return (
        f"chi-square {test.statistic:.1f} on {test.degrees_of_freedom}, p = {test.p_value:.2g}, "
        f"finds a shift of {test.detectable_shift:.0%} of them"
    )


def _certificate(looks: Sequence[SampleRecord], made: int) -> Certificate | None:
    places, draws = _counted_places(looks), _counted_draws(looks)
    if places is None and draws is None:
        return None
    outputs, repeated = (None if counted is None else _test(*counted, made) for counted in (places, draws))
    least = min(test.corrected_p_value for test in (outputs, repeated) if test is not None)
    drawn = [record for record in looks if record.draws]
    return Certificate(
        refuted=least < LEVEL,
        p_value=least,
        tests=made,
        outputs=outputs,
        draws=repeated,
        drawn=sum(record.draws or 0 for record in drawn),
        spots=len(drawn),
    )


_Counted = tuple[list[tuple[int, float]], int, int]
"""Cells, each seen and expected; degrees of freedom; tokens."""


def _counted_places(looks: Sequence[SampleRecord]) -> _Counted | None:
    """Places of all tokens in bins of equal probability; None where they are too few."""
    places = list(chain.from_iterable(record.places or () for record in looks))
    if len(places) < _BINS * _LEAST_EXPECTED:
        return None
    seen = [0] * _BINS
    for place in places:
        seen[min(int(place * _BINS), _BINS - 1)] += 1
    return [(count, len(places) / _BINS) for count in seen], _BINS - 1, len(places)


def _counted_draws(looks: Sequence[SampleRecord]) -> _Counted | None:
    """All cells of all spots; None where there are none."""
    tables = list(chain.from_iterable(record.cells or () for record in looks))
    if not tables:
        return None
    cells = list(chain.from_iterable(tables))
    return cells, len(cells) - len(tables), sum(seen for seen, _ in cells)


def _test(cells: Sequence[tuple[int, float]], freedom: int, tokens: int, made: int) -> DistributionTest:
    from scipy.stats import chisquare

    seen, expected = zip(*cells, strict=True)
    # What is expected adds up to what was seen in each table, but for rounding.
    found = chisquare(seen, expected, ddof=len(cells) - 1 - freedom, sum_check=False)
    statistic, p_value = float(found.statistic), float(found.pvalue)
    return DistributionTest(
        tokens=tokens,
        cells=len(cells),
        statistic=statistic,
        degrees_of_freedom=freedom,
        p_value=p_value,
        corrected_p_value=min(1.0, p_value * made),
        detectable_shift=detectable_shift(freedom, tokens, LEVEL / made),
    )


def detectable_shift(freedom: int, tokens: int, level: float) -> float:
    """Which share of the tokens must go to other cells for a test to find it with probability ``POWER``.

    The statistic's noncentrality is, for each table of cells, n times the sum of (r - p)^2 / p, which is at
    least 4 n d^2 where d is half the sum of the differences, the share that moved (Cauchy-Schwarz). A shift
    that concentrates on few cells is found sooner. At most 1.

    Args:
        freedom: degrees of freedom.
        tokens: that were counted.
        level: p-value below which the test refutes.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    critical = chi2.isf(level, freedom)
    needed = cast(
        float, brentq(lambda off: ncx2.sf(critical, freedom, off) - POWER, 1e-3, 10 * critical + 100)
    )
    return min(1.0, (needed / (4 * tokens)) ** 0.5)
