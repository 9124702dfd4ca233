"""WBXML: every vector whole, cut short and with trailing bytes."""

import pytest

from eas_redirect.activesync.wbxml import WBXMLError, parse, write
from tests.activesync.vectors import VECTORS


@pytest.mark.parametrize("command", VECTORS)
def test_each_vector_is_read_and_written_back(command: str) -> None:
    document = parse(VECTORS[command])
    assert document.root.name == command
    assert [(child.name, child.text) for child in document.root.elements] == [("Status", "123")]
    assert write(document) == VECTORS[command]


@pytest.mark.parametrize("command", VECTORS)
def test_each_proper_prefix_of_a_vector_fails_cleanly(command: str) -> None:
    vector = VECTORS[command]
    for length in range(len(vector)):
        with pytest.raises(WBXMLError):
            parse(vector[:length])


@pytest.mark.parametrize("command", VECTORS)
@pytest.mark.parametrize("extra", [b"\0", b"\x01", b"\x45", b"<html>"])
def test_trailing_bytes_are_refused(command: str, extra: bytes) -> None:
    with pytest.raises(WBXMLError):
        parse(VECTORS[command] + extra)
