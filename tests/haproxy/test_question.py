"""What crosses the judge's socket: whatever is written is read, and nothing else."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.haproxy.question import (
    Question,
    QuestionError,
    question_length,
    read_question,
    written_question,
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
def test_any_bytes_are_a_question_or_the_one_error(payload: bytes) -> None:
    with contextlib.suppress(QuestionError):
        assert isinstance(read_question(payload), Question)
