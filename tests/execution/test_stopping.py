import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.execution.stopping import StopRule

CONTEXT = 400
SPECIAL = (0, 1, 2, 3)
NO_TEXT_AT_ALL = 345
"""An id the model has and the tokenizer has not, as where the vocabulary is padded."""

letters = st.text(alphabet="aeonz \né日🙂�", min_size=1, max_size=8)


def decoded(tokenizer, tokens) -> str:
    return tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def expected(tokens, request, tokenizer) -> tuple[int, str, str | None]:
    """By the definition, from the whole text after every token."""
    for count, token in enumerate(tokens, start=1):
        text = decoded(tokenizer, tokens[:count])
        if token in request.stop_token_ids:
            reason = "eos"
        elif any(stop in text for stop in request.stop_strings):
            reason = "stop_string"
        elif count == request.max_new_tokens:
            reason = "max_new_tokens"
        else:
            continue
        places = [text.index(stop) for stop in request.stop_strings if stop in text]
        return count, text[: min(places)] if places else text, reason
    return len(tokens), decoded(tokenizer, tokens), None


@st.composite
def sequences(draw, tokenizer):
    """Tokens of real text, with special tokens, bytes of half characters and ids of no text between them."""
    pieces = draw(
        st.lists(
            st.one_of(
                letters.map(lambda text: tokenizer.encode(text, add_special_tokens=False)),
                st.integers(0, len(tokenizer) - 1).map(lambda token: [token]),
                st.tuples(st.sampled_from((*SPECIAL, NO_TEXT_AT_ALL)), st.integers(1, 40)).map(
                    lambda run: [run[0]] * run[1]
                ),
            ),
            min_size=1,
            max_size=8,
        )
    )
    return [token for piece in pieces for token in piece]


@st.composite
def cases(draw, tokenizer):
    tokens = draw(sequences(tokenizer))
    text = decoded(tokenizer, tokens) or "a"
    begin = draw(st.integers(0, len(text) - 1))
    met = text[begin : begin + draw(st.integers(1, 6))]
    stops = draw(st.lists(st.one_of(st.just(met), letters), max_size=3))
    ends = draw(st.sets(st.sampled_from((*SPECIAL, *tokens)), max_size=2)) if draw(st.booleans()) else ()
    return tokens, tuple(stops), tuple(ends), draw(st.integers(1, len(tokens) + 2))


@pytest.mark.parametrize("kind", ["tiny_tokenizer", "sentence_tokenizer"])
def test_ends_at_the_first_token_after_which_the_whole_text_holds_a_stop(kind, request, request_for):
    tokenizer = request.getfixturevalue(kind)

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases(tokenizer))
    def check(case):
        tokens, stops, ends, limit = case
        asked = request_for(stop_strings=stops, stop_token_ids=ends, max_new_tokens=limit)
        rule, reason = StopRule(asked, tokenizer, CONTEXT), None
        for token in tokens:
            reason = rule.push(token)
            if reason:
                break
        assert (len(rule.token_ids), rule.text(), reason) == expected(tokens, asked, tokenizer)

    check()


def pushed(rule, tokens):
    return [rule.push(token) for token in tokens]


def test_a_stop_string_over_several_tokens(tiny_tokenizer, request_for):
    tokens = tiny_tokenizer.encode("one two three four", add_special_tokens=False)
    rule = StopRule(request_for(max_new_tokens=100, stop_strings=("o th",)), tiny_tokenizer, CONTEXT)
    reasons = pushed(rule, tokens)
    first = reasons.index("stop_string")
    assert "o th" in decoded(tiny_tokenizer, tokens[: first + 1])
    assert "o th" not in decoded(tiny_tokenizer, tokens[:first])
    assert rule.text() == "one tw"


def test_bytes_before_the_stop_are_read_as_the_character_they_are(sentence_tokenizer, request_for):
    """Cut within the character before it, a run of bytes reads as nothing but replacement marks."""
    tokens = sentence_tokenizer.convert_tokens_to_ids(
        [f"<0x{byte:02X}>" for byte in "\U0001f642\x00\x01".encode()]
    )
    rule = StopRule(request_for(max_new_tokens=100, stop_strings=("\x01",)), sentence_tokenizer, CONTEXT)
    assert pushed(rule, tokens) == [None] * 5 + ["stop_string"]
    assert rule.text() == "\U0001f642\x00"


def test_a_character_of_several_tokens_stops_when_it_is_whole(tiny_tokenizer, request_for):
    tokens = tiny_tokenizer.encode("a\u6f22b", add_special_tokens=False)
    assert len(tokens) == 5
    rule = StopRule(request_for(max_new_tokens=100, stop_strings=("\u6f22",)), tiny_tokenizer, CONTEXT)
    assert pushed(rule, tokens[:4]) == [None, None, None, "stop_string"]
    assert rule.text() == "a"


def test_half_a_character_where_looking_back_begins_is_none_of_the_text(tiny_tokenizer, request_for):
    tokens = tiny_tokenizer.encode("\u6f22" * 12, add_special_tokens=False)
    assert len(tokens) == 36
    rule = StopRule(request_for(max_new_tokens=100, stop_strings=("\ufffd\u6f22",)), tiny_tokenizer, CONTEXT)
    assert pushed(rule, tokens) == [None] * 36


def test_any_number_of_special_tokens_may_stand_within_a_stop_string(tiny_tokenizer, request_for):
    first, second = tiny_tokenizer.encode("a", add_special_tokens=False) + tiny_tokenizer.encode(
        "b", add_special_tokens=False
    )
    rule = StopRule(request_for(max_new_tokens=500, stop_strings=("ab",)), tiny_tokenizer, 1000)
    assert pushed(rule, [first, *[0] * 200, second])[-1] == "stop_string"
    assert rule.text() == ""


def test_any_end_of_sequence_id_ends(tiny_tokenizer, request_for):
    for end in (1, 3):
        rule = StopRule(request_for(stop_token_ids=(1, 3)), tiny_tokenizer, CONTEXT)
        assert pushed(rule, [50, end]) == [None, "eos"]
        assert rule.token_ids == [50, end]
        assert rule.text() == decoded(tiny_tokenizer, [50])


def test_the_limit_of_the_request_and_the_end_of_the_context(tiny_tokenizer, request_for):
    prompt = (5, 6, 7)
    rule = StopRule(request_for(prompt, max_new_tokens=2), tiny_tokenizer, 6)
    assert pushed(rule, [50, 51]) == [None, "max_new_tokens"]
    rule = StopRule(request_for(prompt, max_new_tokens=3), tiny_tokenizer, 6)
    assert pushed(rule, [50, 51, 52]) == [None, None, "context_full"]


def test_an_empty_stop_string_stops_nothing(tiny_tokenizer, request_for):
    rule = StopRule(request_for(stop_strings=("",)), tiny_tokenizer, CONTEXT)
    assert rule.push(50) is None


def test_looking_for_stops_costs_the_same_however_long_the_text(tiny_tokenizer, request_for, monkeypatch):
    rule = StopRule(request_for(max_new_tokens=10_000, stop_strings=("zzzz",)), tiny_tokenizer, 20_000)
    pushed(rule, [50] * 1000)
    seen = []
    decode = type(tiny_tokenizer).decode

    def counting(self, tokens, **options):
        seen.append(len(tokens))
        return decode(self, tokens, **options)

    monkeypatch.setattr(type(tiny_tokenizer), "decode", counting)
    rule.push(50)
    assert sum(seen) < 50
