"""Targets for what a directory's servers send."""

from eas_redirect.directory.ldap.wire import WireError, read_message, whole_length
from tests.directory.ldap.test_wire import WHOLE, done_of, message, paged
from tests.fuzz.target import target

TOKENS = (b"\x30\x84\x00\x00", b"\x64", b"\x65", b"\x04\x00", b"\x31\x80", b"\xa0", b"\x02\x01\x00")


@target(seeds=lambda: [WHOLE, message(3, done_of(0), paged(b"more"))], tokens=TOKENS)
def fuzz_ldap(data: bytes) -> None:
    """Any bytes are a message whose length was foretold, or a WireError; what a proper prefix of it
    foretells is the same length or nothing."""
    try:
        length = whole_length(data)
        read_message(data)
    except WireError:
        return
    assert length == len(data)
    for end in range(min(len(data), 16)):
        assert whole_length(data[:end]) in (None, length)
