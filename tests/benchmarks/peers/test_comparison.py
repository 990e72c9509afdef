import pytest

from benchmarks.peers.comparison import Row, compare_decoding, compare_prefill
from benchmarks.peers.peer import Decoded

TURNS = [[[number] * 10] for number in range(6)]


class Scripted:
    """Takes so many seconds for the first output, and for each token after it; notes who was called when."""

    def __init__(self, name, first_s, token_s, calls, last=0):
        self.name, self.first_s, self.token_s, self.calls, self.last = name, first_s, token_s, calls, last
        self.beside, self.about = (), ""

    def decode(self, prompts, tokens):
        self.calls.append((self.name, prompts[0][0], tokens))
        output = (*range(tokens - 1), self.last if prompts[0][0] == 3 else 0)
        return Decoded((output,), self.first_s, self.token_s * (tokens - 1), tokens - 1)


def test_decoding_is_told_apart_from_prefill():
    ours, peer = Scripted("ours", 9.0, 0.1, []), Scripted("peer", 1.0, 0.25, [])
    decoding = compare_decoding(ours, peer, TURNS, 5)
    assert (decoding.our_rate, decoding.peer_rate) == pytest.approx((10, 4))
    assert decoding.ratio == pytest.approx(2.5)
    assert decoding.interval == pytest.approx((2.5, 2.5))
    prefill = compare_prefill(ours, peer, TURNS)
    assert (prefill.our_rate, prefill.peer_rate) == pytest.approx((10 / 9, 10))
    assert prefill.interval == pytest.approx((1 / 9, 1 / 9))
    assert prefill.measure == "prefill of 10"
    assert "slower" in str(prefill)


def test_turns_alternate_after_a_warm_up():
    calls = []
    compare_decoding(Scripted("a", 1, 1, calls), Scripted("b", 1, 1, calls), TURNS[:3], 20)
    assert calls[:2] == [("a", 0, 8), ("b", 0, 8)]
    assert calls[2:] == [("a", 0, 20), ("b", 0, 20), ("b", 1, 20), ("a", 1, 20), ("a", 2, 20), ("b", 2, 20)]


def test_what_differs_is_counted():
    row = compare_decoding(Scripted("a", 1, 1, []), Scripted("b", 1, 1, [], last=1), TURNS, 5)
    assert (row.identical, row.outputs) == (5, 6)


def test_few_turns_give_no_interval():
    row = compare_decoding(Scripted("a", 1, 1, []), Scripted("b", 1, 1, []), TURNS[:4], 5)
    assert row.interval is None
    assert "too few turns" in str(row)


def test_a_row_says_how_sure_it_is():
    row = Row("decode", "ours", "theirs", 30.0, 20.0, (1.4, 1.6), 3, 4)
    assert "ratio 1.500" in str(row)
    assert "1.400 to 1.600, faster" in str(row)
