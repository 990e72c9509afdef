from __future__ import annotations

import pytest

from lsbench.measurement.fidelity import (
    common_prefix_fraction,
    fidelity,
    identical_outputs,
    token_agreement,
)
from lsbench.measurement.pairing import pair_up

BASELINE = "autoregressive"


def pairs_of(make_record, *outputs):
    records = []
    for doc_id, (baseline, strategy) in enumerate(outputs):
        records.append(make_record(BASELINE, doc_id, token_ids=baseline))
        records.append(make_record("s", doc_id, token_ids=strategy))
    return pair_up(records, BASELINE, "s").pairs


def test_outputs_by_hand(make_record):
    pairs = pairs_of(
        make_record,
        ((1, 2, 3), (1, 2, 3)),
        ((1, 2, 3), (1, 9, 3, 4)),
        ((1, 2, 3), (1, 2)),
        ((5,), (6,)),
    )
    assert identical_outputs(pairs) == 1
    assert common_prefix_fraction(pairs) == pytest.approx((3 + 1 + 2 + 0) / (3 + 4 + 2 + 1))


def test_no_output_has_no_fraction(make_record):
    assert common_prefix_fraction([]) is None
    assert common_prefix_fraction(pairs_of(make_record, ((), ()))) is None


def test_token_agreement_is_a_share_of_tokens(make_record):
    def checked(doc_id: int, *agreement: bool, **changes: object):
        fields = {"label": "s", "kind": "fidelity", "token_ids": None, "agreement": agreement, **changes}
        return make_record(doc_id=doc_id, **fields)

    records = [
        checked(0, True, True, False, True),
        checked(1, False),
        checked(2, True, label="other"),
        checked(3, True, kind="generate"),
        checked(4, True, error="boom"),
        checked(5),
    ]
    found = token_agreement(records, "s")
    assert found is not None
    assert found.value == pytest.approx(3 / 5)
    assert found.ci95 is None
    assert token_agreement(records[2:], "s") is None
    many = token_agreement([checked(i, True, i % 3 > 0) for i in range(12)], "s")
    assert many is not None
    assert many.ci95 is not None
    assert many.value == pytest.approx(20 / 24)
    assert many.ci95[0] < many.value < many.ci95[1] <= 1


def test_lossless_agrees_wholly(make_record):
    pairs = pairs_of(make_record, *[((1, 2, 3), (1, 2, 3))] * 6)
    records = [make_record("s", i, kind="fidelity", token_ids=None, agreement=(True, True)) for i in range(6)]
    found = fidelity(pairs, records, "s")
    assert found is not None
    assert found.identical_outputs == 6
    assert found.common_prefix_fraction == 1
    assert (found.token_agreement.value, found.token_agreement.ci95) == (1, (1, 1))


def test_fidelity_without_its_records_is_not_claimed(make_record):
    assert fidelity(pairs_of(make_record, ((1,), (1,))), [], "s") is None
