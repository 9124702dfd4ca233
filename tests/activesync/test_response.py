"""What answers prove. The table holds the look-alikes; a false positive sticks in a phone."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync import response
from eas_redirect.activesync.request import COMMAND_CODES, EASRequest, Headers
from eas_redirect.activesync.response import (
    MAX_BODY,
    SHORT_BODY,
    Answer,
    Evidence,
    read_answer,
    read_head,
)
from tests.activesync.vectors import VECTORS
from tests.support import DATA

WBXML = ("Content-Type", "application/vnd.ms-sync.wbxml")
GZIP = ("Content-Encoding", "gzip")
DIAGNOSED = ("X-MS-Diagnostics", "UserHasNoMailbox")
SYNC = EASRequest(method="POST", command="Sync", protocol_version="14.1")
ANSWER = VECTORS["Sync"]


def rows() -> list[list[str]]:
    lines = (DATA / "answers.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")][1:]


def optional(text: str) -> str | None:
    return None if text == "-" else text


def headers_of(text: str) -> Headers:
    found = []
    for part in [] if text == "-" else text.split(" | "):
        name, _, value = part.partition(": ")
        found.append(WBXML if part == "W" else (name, value))
    return tuple(found)


def body_of(text: str) -> bytes | None:
    return None if text == "unread" else bytes.fromhex("" if text == "-" else text)


def request_for(command: str) -> EASRequest:
    return EASRequest(method="POST", command=command, protocol_version="14.1")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[-1])
def test_the_table(row: list[str]) -> None:
    evidence, status, problem, method, command, version, code, headers, body, _ = row
    request = EASRequest(
        method=method, command=optional(command), protocol_version=optional(version)
    )
    answer = read_answer(request, int(code), headers_of(headers), body_of(body))
    assert answer.evidence == evidence
    assert answer.eas_status == (int(status) if status != "-" else None)
    assert (answer.problem is not None) is (problem == "yes")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[-1])
def test_a_body_that_need_not_be_read_changes_nothing(row: list[str]) -> None:
    """The addon streams what `may_hold_evidence` refuses: that must not hide any evidence."""
    _, _, _, method, command, version, code, headers, body, _ = row
    request = EASRequest(
        method=method, command=optional(command), protocol_version=optional(version)
    )
    head = (request, int(code), headers_of(headers))
    if not read_head(*head).may_hold_evidence:
        assert read_answer(*head, None) == read_answer(*head, body_of(body))


@pytest.mark.parametrize("command", VECTORS)
def test_each_vector_is_certain(command: str) -> None:
    answer = read_answer(request_for(command), 200, (WBXML,), VECTORS[command])
    assert answer == Answer(status_code=200, evidence=Evidence.CERTAIN, eas_status=123)


@pytest.mark.parametrize("command", VECTORS)
def test_no_vector_fits_another_command(command: str) -> None:
    for other in set(VECTORS) - {command}:
        answer = read_answer(request_for(other), 200, (WBXML,), VECTORS[command])
        assert answer.evidence is Evidence.NONE


@pytest.mark.parametrize("command", VECTORS)
def test_no_prefix_and_no_longer_body_is_certain(command: str) -> None:
    vector = VECTORS[command]
    cut = [vector[:length] for length in range(len(vector))]
    for body in [*cut, vector + b"\0", vector + b"\x01", vector + vector]:
        answer = read_answer(request_for(command), 200, (WBXML,), body)
        assert answer.evidence is Evidence.NONE
        assert answer.problem or not body


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(ANSWER, mtime=0)),
        ("x-gzip", gzip.compress(ANSWER, mtime=0)),
        ("GZIP", gzip.compress(ANSWER, mtime=0)),
        ("identity, gzip", gzip.compress(ANSWER, mtime=0)),
        ("identity", ANSWER),
        ("", ANSWER),
        ("deflate", zlib.compress(ANSWER)),
        ("deflate", raw_deflate(ANSWER)),
    ],
)
def test_compressed_answers(coding: str, body: bytes) -> None:
    head = (SYNC, 200, (WBXML, ("Content-Encoding", coding)))
    assert read_head(*head).may_hold_evidence
    assert read_answer(*head, body).evidence is Evidence.CERTAIN


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(ANSWER, mtime=0)[:-1],
        gzip.compress(ANSWER, mtime=0) + b"\0",
        gzip.compress(ANSWER, mtime=0) + gzip.compress(b"", mtime=0),
        gzip.compress(ANSWER, mtime=0)[:-5] + bytes(5),
        gzip.compress(bytes(MAX_BODY + 1), mtime=0),
        gzip.compress(ANSWER + bytes(100_000_000), 9, mtime=0),
        bytes(MAX_BODY + 1),
    ],
    ids=["cut", "longer", "two members", "checksum", "too long", "bomb", "too long as it is"],
)
def test_compressed_answers_that_are_not_believed(body: bytes) -> None:
    answer = read_answer(SYNC, 200, (WBXML, GZIP), body)
    assert answer.evidence is Evidence.NONE
    assert answer.problem


def test_the_native_location_is_kept() -> None:
    location = "https://eas.fabrikam.example/Microsoft-Server-ActiveSync"
    answer = read_answer(SYNC, 451, (("X-MS-Location", location),), b"")
    assert answer == Answer(status_code=451, evidence=Evidence.NONE, location=location)
    assert read_answer(SYNC, 200, (("X-MS-Location", location),), b"").location is None


@pytest.mark.parametrize(
    ("weak", "code", "evidence"),
    [
        ({403}, 500, "none"),
        ({403, 500}, 500, "weak"),
        ({403, 500}, 403, "weak"),
        (set(), 403, "none"),
        ({200, 401, 451}, 401, "none"),
        ({200, 401, 451}, 451, "none"),
        ({200, 401, 451}, 200, "none"),
    ],
)
def test_weak_statuses_are_configured(weak: set[int], code: int, evidence: str) -> None:
    assert read_answer(SYNC, code, (), b"", frozenset(weak)).evidence == evidence


def test_a_location_and_diagnostics_count_only_where_exchange_puts_them() -> None:
    location = ("X-MS-Location", "https://eas.fabrikam.example/")
    assert read_answer(SYNC, 403, (location,), b"").location is None
    for method in ("GET", "HEAD", "PUT"):
        answer = read_answer(EASRequest(method=method), 403, (DIAGNOSED,), b"")
        assert answer.evidence is Evidence.NONE


@pytest.mark.parametrize(
    ("read", "method", "code", "headers"),
    [
        (True, "POST", 200, [WBXML]),
        (False, "GET", 200, [WBXML]),
        (False, "POST", 500, [WBXML]),
        (False, "GET", 500, [WBXML]),
        (True, "POST", 200, [WBXML, ("Content-Length", "1")]),
        (True, "POST", 200, [WBXML, ("Content-Length", f"{MAX_BODY}")]),
        (False, "POST", 200, [WBXML, ("Content-Length", f"{MAX_BODY + 1}")]),
        (False, "POST", 200, [WBXML, ("Content-Length", "0")]),
        (True, "POST", 200, [WBXML, ("Content-Length", "0"), DIAGNOSED]),
        (True, "POST", 200, [DIAGNOSED]),
        (False, "GET", 200, [DIAGNOSED]),
        (False, "POST", 500, [DIAGNOSED]),
        (False, "GET", 500, [DIAGNOSED]),
        (False, "POST", 200, [("Content-Length", "5"), DIAGNOSED]),
    ],
)
def test_which_bodies_are_waited_for(
    read: bool, method: str, code: int, headers: list[tuple[str, str]]
) -> None:
    request = EASRequest(method=method, command="Sync")
    assert read_head(request, code, tuple(headers)).may_hold_evidence is read


def test_only_short_bodies_are_remembered() -> None:
    """The cache is bounded in bytes because nothing longer gets into it (tests/test_bounds.py)."""
    response._short_status.cache_clear()
    kept = response._short_status.cache_info
    filling = SHORT_BODY - len(ANSWER) - 4  # an unknown element with text before the Status
    for length, more in ((filling, 1), (filling + 1, 0)):
        body = ANSWER[:5] + b"\x7f\x03" + b"x" * length + b"\0\x01" + ANSWER[5:]
        before = kept().currsize
        assert read_answer(SYNC, 200, (WBXML,), body).evidence is Evidence.CERTAIN
        assert kept().currsize - before == more


@pytest.mark.parametrize("length", ["", "x", "-1", "9" * 5000, "٣"])
def test_odd_lengths_are_no_trouble(length: str) -> None:
    held = read_head(SYNC, 200, (WBXML, ("Content-Length", length))).may_hold_evidence
    assert held is (length == "٣")  # int() reads it: Arabic-Indic three


@given(
    st.integers(100, 599),
    st.lists(
        st.tuples(
            st.sampled_from(["Content-Type", "Content-Encoding", "X-MS-Diagnostics", "X"]),
            st.sampled_from([WBXML[1], "gzip", "deflate", "br", "UserHasNoMailbox"]) | st.text(),
        )
    ),
    st.none() | st.binary(),
)
def test_any_answer_gives_a_value(
    code: int, headers: list[tuple[str, str]], body: bytes | None
) -> None:
    read_answer(SYNC, code, tuple(headers), body)


@given(st.binary(max_size=40), st.sampled_from(sorted(VECTORS)))
def test_only_a_global_status_makes_a_body_certain(data: bytes, command: str) -> None:
    """Whatever follows the header, a certain answer holds the digits."""
    answer = read_answer(request_for(command), 200, (WBXML,), b"\x03\x01\x6a\x00" + data)
    if answer.evidence is Evidence.CERTAIN:
        assert answer.eas_status == 123


@pytest.mark.parametrize("command", sorted(COMMAND_CODES.values()))
def test_every_command_at_every_version(command: str) -> None:
    """The HTTP form is weak, the in-band form certain, and nothing else is either."""
    body = VECTORS.get(command, VECTORS["Sync"])
    for version in ("2.5", "12.0", "12.1", "14.0", "14.1", "16.0", "16.1"):
        request = EASRequest(method="POST", command=command, protocol_version=version)
        assert read_answer(request, 403, (), b"<html></html>").evidence is Evidence.WEAK
        in_band = read_answer(request, 200, (WBXML,), body).evidence
        assert in_band is (Evidence.CERTAIN if command in VECTORS else Evidence.NONE)
        assert read_head(request, 200, (WBXML,)).may_hold_evidence is (command in VECTORS)
        for code in (400, 401, 404, 449, 451, 456, 457, 500, 501, 502, 503, 505, 507):
            assert read_answer(request, code, (), body).evidence is Evidence.NONE
