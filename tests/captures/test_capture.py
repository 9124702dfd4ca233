"""What the exchanges of a capture tell about those that follow."""

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from eas_redirect.captures.capture import Captured, CaptureTrouble, read_exchanges, read_flows
from eas_redirect.proxy.flows import METADATA
from tests.captures.captures import eas_flow, write_flows


@pytest.mark.parametrize(
    ("evidence", "reason", "challenged"),
    [
        ("weak", "mailbox_moved", True),
        ("weak", "recipient_has_mailbox", True),
        ("weak", "logon_not_proven", False),
        ("weak", "no_identity", False),
        ("certain", "mailbox_moved", False),
        ("none", "other_answer", False),
        (None, "mailbox_moved", False),
    ],
)
def test_the_proxys_own_question_shows_in_what_it_decided(
    evidence: str | None, reason: str, challenged: bool, tmp_path: Path
) -> None:
    """It was answered 401, which no capture holds; a 403 that counted then counts again."""
    flow = eas_flow(0, None, code=403)
    eas = {} if evidence is None else {"evidence": evidence}
    flow.metadata[METADATA] = {"event": {"reason": reason}, "eas": eas}
    (found,) = read_exchanges(write_flows(tmp_path / "capture.flows", [flow]))
    assert isinstance(found, Captured)
    assert found.exchange.challenged is challenged


@pytest.mark.parametrize(
    ("head", "advice"),
    [
        (gzip.compress(b"x", mtime=0), "unpack it first"),
        (bz2.compress(b"x"), "unpack it first"),
        (lzma.compress(b"x"), "unpack it first"),
        (b"\x28\xb5\x2f\xfd\x04", "unpack it first"),
        (b"PK\x03\x04\x14", "export it as a HAR"),
        (b"#Software: Microsoft Internet Information Services 8.0\r\n", "eas-redirect report"),
        ("#Fields: date time\r\n".encode("utf-16"), "eas-redirect report"),
        (b'\xef\xbb\xbf{"@timestamp": "2026-03-02T08:00:00Z"}\n', "eas-redirect report"),
    ],
)
def test_what_something_else_has_to_read_is_named(head: bytes, advice: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(head)
    (found,) = read_flows(tmp_path / "file")
    assert isinstance(found, CaptureTrouble)
    assert advice in found.text
