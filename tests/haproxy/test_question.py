"""What crosses the judge's socket: whatever is written is read, and nothing else."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.haproxy.question import (
    MAX_HEAD,
    MAX_QUESTION,
    JudgeReply,
    Question,
    QuestionError,
    question_length,
    read_question,
    written_question,
    written_reply,
)

FACTS = st.dictionaries(
    st.text(st.characters(codec="ascii", exclude_characters="<"), min_size=1), st.binary()
)
HEADERS = st.lists(st.tuples(st.text(st.characters(codec="latin-1")), st.binary())).map(tuple)


@given(FACTS, HEADERS)
def test_what_is_written_is_read(
    facts: dict[str, bytes], headers: tuple[tuple[str, bytes], ...]
) -> None:
    head, _, payload = written_question(Question(facts, headers)).partition(b"\n")
    assert question_length(head + b"\n") == len(payload)
    assert read_question(payload) == Question(facts, headers)


@given(st.binary())
def test_any_bytes_are_a_question_that_is_written_alike_or_the_one_error(payload: bytes) -> None:
    with contextlib.suppress(QuestionError):
        found = read_question(payload)
        assert read_question(written_question(found).partition(b"\n")[2]) == found


def test_what_is_cut_short_is_no_question() -> None:
    whole = Question({"method": b"POST", "target": b"/a"}, (("date", b"x"), ("date", b"y")))
    payload = written_question(whole).partition(b"\n")[2]
    for end in range(len(payload)):
        with pytest.raises(QuestionError):
            read_question(payload[:end])
    with pytest.raises(QuestionError):
        read_question(payload + b"x")


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"1 1 1 1\naxay", "a fact stands twice"),
        (b"1\na", "a name has no value"),
        (b"1 -1\na", "a length is no number"),
        (b"1 \xb2\naxx", "a length is no number"),
        (b"1 99\nax", "shorter or longer"),
        (b"1 1\naxx", "shorter or longer"),
        (b"1 1 1 999999\nax", "shorter or longer"),
        (b"1 " + b"9" * 5000 + b"\nax", "a length is no number"),
        (b"1 +1\nax", "a length is no number"),
        (b"1 0_1\nax", "a length is no number"),
        (b"0 0", "a length is no number"),
        (b"", "a length is no number"),
        (b"2 1\n\xc3\xa9x", "the name of a fact is none"),
    ],
    ids=[
        "twice",
        "odd",
        "negative",
        "no digit",
        "beyond",
        "more than said",
        "far beyond",
        "endless",
        "a sign",
        "grouped",
        "no line",
        "nothing",
        "no name",
    ],
)
def test_what_is_wrong_with_a_question(payload: bytes, why: str) -> None:
    with pytest.raises(QuestionError, match=why) as caught:
        read_question(payload)
    assert "x" not in str(caught.value).split(), "what it holds is for no log"


@pytest.mark.parametrize(
    ("head", "length"),
    [(b"EAS2 0\n", 0), (b"EAS2 %d\n" % MAX_QUESTION, MAX_QUESTION), (b"EAS2 000017\n", 17)],
)
def test_the_first_line_says_how_long_it_is(head: bytes, length: int) -> None:
    assert question_length(head) == length


@pytest.mark.parametrize(
    "head",
    [b"EAS1 5\n", b"GET / HTTP/1.1\n", b"EAS2 %d\n" % (MAX_QUESTION + 1), b"EAS2 -1\n", b"EAS2\n",
     b"EAS2 0000017\n", b"EAS2 \xb2\n", b"\n"],
)  # fmt: skip
def test_any_other_first_line_is_refused(head: bytes) -> None:
    with pytest.raises(QuestionError):
        question_length(head)


def test_a_fact_is_text_or_a_number_where_it_is_there() -> None:
    found = Question({"user": b"B\xe4r", "status": b"200", "long": b"9" * 20, "none": b""})
    assert found.text("user") == "B\udce4r"
    assert (found.text("none"), found.text("absent")) == (None, None)
    assert (found.number("status"), found.number("user"), found.number("long")) == (200, None, None)


@pytest.mark.parametrize("given", [b"", b"https://outlook.office365.com/x"])
def test_a_reply_says_its_length_in_six_digits(given: bytes) -> None:
    """Lua reads the first line by its length."""
    written = written_reply(JudgeReply(word="redirect", reason="mailbox_moved", given=given))
    head, payload = written[:MAX_HEAD], written[MAX_HEAD:]
    assert head == b"EAS2 %06d\n" % len(payload)
    word, _, said = payload.partition(b"\n")
    assert (word, said) == (b"redirect mailbox_moved", given)
