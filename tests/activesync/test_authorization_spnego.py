"""SPNEGO: the one field of an answer that is read, bounded by the bytes that are there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.authorization import read_authorization, response_token
from tests.activesync.test_authorization import b64, der, ntlm3, spnego

# The three messages of an NTLM logon as CONTOSO\\anna in SPNEGO, as pyspnego makes them.
FIRST = bytes.fromhex(
    "604806062b0601050502a03e303ca00e300c060a2b06010401823702020aa22a04284e544c4d535350000100"
    "0000378208e200000000280000000000000028000000000c04000000000f"
)
CHALLENGE = bytes.fromhex(
    "a1819030818da0030a0103a10c060a2b06010401823702020aa27804764e544c4d5353500002000000040004"
    "003800000035828ae237857fa212974f2a00000000000000003a003a003c000000000c04000000000f56004d"
    "000100040056004d000200160057004f0052004b00530054004100540049004f004e000300040076006d0007"
    "00080088967ddcc37add0100000000"
)
LAST = bytes.fromhex(
    "a182014730820143a0030a0101a2820126048201224e544c4d53535000030000001800180058000000880088"
    "00700000000e000e00f80000000800080006010000040004000e010000100010001201000035828ae2000c04"
    "000000000f0baa417f6d67afc4ad657396e5ebb97d0000000000000000000000000000000000000000000000"
    "00b8d425110518218ce782f9ed99648bb9010100000000000088967ddcc37add013b3c30baa154cc06000000"
    "000100040056004d000200160057004f0052004b00530054004100540049004f004e000300040076006d0007"
    "00080088967ddcc37add010900120068007400740070002f006d00610069006c000600040002000000000000"
    "000000000043004f004e0054004f0053004f0061006e006e00610056004d0056c865196ce65f9ff519d1dcb7"
    "aa1586a312041001000000992eb41295b5e5cc00000000"
)


def test_another_implementation_is_read() -> None:
    assert (response_token(LAST) or b"").startswith(b"NTLMSSP\0\3\0\0\0")
    assert (response_token(CHALLENGE) or b"").startswith(b"NTLMSSP\0\2\0\0\0")
    assert response_token(FIRST) is None
    found = [read_authorization(f"Negotiate {b64(t)}").logon for t in (FIRST, CHALLENGE, LAST)]
    assert [logon.text if logon else None for logon in found] == [None, None, "CONTOSO\\anna"]


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_tokens_of_any_length(length: int) -> None:
    assert response_token(spnego(bytes(length))) == bytes(length)


def test_every_prefix_names_nobody() -> None:
    assert [end for end in range(len(LAST)) if response_token(LAST[:end]) is not None] == []


def test_lengths_of_four_bytes_and_no_more() -> None:
    """X.690 8.1.3.5; and 0x80, a length that comes later, is none of DER (10.1)."""
    inside = der(0x30, der(0xA2, der(0x04, bytes(122))))
    assert len(inside) == 0x80
    assert response_token(b"\xa1\x81\x80" + inside) == bytes(122)
    assert response_token(b"\xa1\x84\0\0\0\x80" + inside) == bytes(122)
    assert response_token(b"\xa1\x85\0\0\0\0\x80" + inside) is None
    assert response_token(b"\xa1\x80" + inside) is None


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"\xa1",
        b"\xa1\x80",
        b"\xa1\x85\0\0\0\0\1\0",
        b"\xa1\x84\xff\xff\xff\xff",
        der(0xA0, der(0x30, b"")),
        der(0xA1, b""),
        der(0xA1, der(0x30, b"")),
        der(0xA1, der(0x30, der(0xA2, b""))),
        der(0xA1, der(0x30, der(0xA2, der(0x05, b"")))),
        der(0xA1, der(0x30, der(0xA0, der(0x04, ntlm3("CONTOSO", "anna"))))),
        der(0x60, der(0x30, der(0xA2, der(0x04, ntlm3("CONTOSO", "anna"))))),
    ],
)
def test_what_is_no_answer(token: bytes) -> None:
    assert response_token(token) is None


def test_a_damaged_message_inside_is_a_problem_and_not_overruled() -> None:
    credentials = read_authorization(f"Negotiate {b64(spnego(ntlm3('CONTOSO', 'anna')[:70]))}")
    assert credentials.logon is None
    assert credentials.problem is not None


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    for token in (data, b"\xa1" + data, spnego(data)):
        found = response_token(token)
        assert found is None or found in token
