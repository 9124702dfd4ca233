"""Redaction of any input: total, sizes kept, nothing of a word left."""

import base64
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.authorization import read_authorization
from eas_redirect.activesync.request import read_request
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_head import redacted_header, redacted_target
from tests.activesync.test_authorization import basic, jwt, ntlm3, spnego

KEY = b"a key for tests"
PATH = "/Microsoft-Server-ActiveSync"
HEADERS = [
    "Authorization",
    "WWW-Authenticate",
    "Cookie",
    "Set-Cookie",
    "Host",
    "Location",
    "X-MS-Location",
    "X-Forwarded-For",
    "X-MS-Diagnostics",
    "X-MS-PolicyKey",
    "X-Anything",
]


def names() -> Pseudonyms:
    return Pseudonyms(KEY)


@given(st.sampled_from(HEADERS), st.text(), st.text())
def test_a_word_in_any_header_is_gone(name: str, before: str, after: str) -> None:
    """Behind a name, where the header has names and values: names of cookies are kept."""
    word = "Zq7SecretZq7"
    start = {"Cookie": "c=", "Set-Cookie": "c=", "Authorization": "Bearer "}.get(name, "")
    start = "Basic realm=" if name == "WWW-Authenticate" else start
    redacted = redacted_header(name, start + before.replace(";", "") + word + after, names())
    assert word not in redacted


@given(
    st.sampled_from(["Basic", "NTLM", "Negotiate", "Bearer"]),
    st.binary() | st.just(ntlm3("CONTOSO", "anna")) | st.just(b"NTLMSSP\0\x03\0\0\0" + bytes(60)),
)
def test_any_credentials_name_a_stand_in_or_nobody(scheme: str, data: bytes) -> None:
    text = base64.b64encode(data).decode()
    for value in (f"{scheme} {text}", f"{scheme} e30.{text}.x"):
        pseudonyms = names()
        clean = redacted_header("Authorization", value, pseudonyms)
        assert clean.startswith(f"{scheme} ")
        before, after = read_authorization(value).logon, read_authorization(clean).logon
        if before is None:
            assert after is None
        elif after is not None:
            assert after.text == pseudonyms.name(before.text)


@pytest.mark.parametrize("message", [ntlm3("CONTOSO", "anna"), spnego(ntlm3("CONTOSO", "anna"))])
def test_a_logon_by_ntlm_keeps_its_stand_in(message: bytes) -> None:
    pseudonyms = names()
    value = f"Negotiate {base64.b64encode(message).decode()}"
    logon = read_authorization(redacted_header("Authorization", value, pseudonyms)).logon
    assert logon is not None
    assert logon.text == pseudonyms.name("CONTOSO\\anna")


@given(st.text())
def test_any_target(query: str) -> None:
    clean = redacted_target(f"{PATH}?{query}", names())
    assert clean.startswith(f"{PATH}?")


@given(st.binary(max_size=60))
def test_any_base64_query_stays_what_it_was(data: bytes) -> None:
    target = f"{PATH}?{base64.b64encode(data).decode()}"
    before = read_request("POST", target, ())
    after = read_request("POST", redacted_target(target, names()), ())
    if before.problem is None:
        assert after.problem is None
        assert (after.command, after.query_encoding) == (before.command, before.query_encoding)


def base64_query(device_id: bytes, user: bytes, options: bytes) -> str:
    data = b"\x8d\x00\x09\x04" + bytes([len(device_id)]) + device_id
    data += b"\x04" + struct.pack("<I", 3141592653) + b"\x06iPhone"
    data += b"\x08" + bytes([len(user)]) + user + b"\x07" + bytes([len(options)]) + options
    return base64.b64encode(data).decode()


@given(st.binary(max_size=40), st.text(max_size=20), st.binary(max_size=2))
def test_a_base64_query_stays_one(device_id: bytes, user: str, options: bytes) -> None:
    query = base64_query(device_id, user.encode(), options)
    before = read_request("POST", f"{PATH}?{query}", ())
    after = read_request("POST", redacted_target(f"{PATH}?{query}", names()), ())
    assert (after.command, after.protocol_version) == (before.command, before.protocol_version)
    assert after.query_encoding == before.query_encoding
    assert len(after.device_id or "") == len(before.device_id or "") or before.problem


@pytest.mark.parametrize(
    ("name", "value", "gone"),
    [
        ("Authorization", basic("CONTOSO\\anna"), "anna"),
        ("Authorization", jwt({"upn": "anna@contoso.example"}), "anna"),
        ("Authorization", "Digest username=anna", "anna"),
        ("Cookie", "a=anna; anna", "anna"),
        ("Set-Cookie", "cadata=anna; path=/; HttpOnly", "anna"),
        ("Host", "anna.contoso.example:443", "anna"),
        ("Host", "192.0.2.7:8443", "192.0.2.7"),
        ("X-Forwarded-For", "192.0.2.7, [2001:db8::7]:80, anna", "192.0.2.7"),
        ("X-MS-Location", "https://mail.contoso.example/x?anna", "contoso"),
        ("X-MS-Diagnostics", "User:anna_Error:UserHasNoMailbox", "anna"),
        ("X-Anything", "anna", "anna"),
        ("X-MS-PolicyKey", "3141592653", "314"),
        ("Authorization", "anna-alone", "anna"),
        ("Via", "1.1 anna.contoso.example (squid)", "anna"),
        ("Cookie", "path=anna; Expires=anna", "anna"),
        ("Set-Cookie", "a=1; Path=/anna", "anna"),
        ("Set-Cookie", "a=1; Domain=anna.example", "anna"),
        ("Content-Type", 'application/pdf; name="anna.pdf"', "anna"),
        ("X-Forwarded-For", "192.0.2.7, anna", "anna"),
        ("X-Forwarded-For", "192.0.2.7:4711", "192.0.2.7"),
        ("X-Forwarded-Host", "mail.example, anna.example", "anna"),
        ("Forwarded", "for=192.0.2.7;host=anna.example;by=_x", "anna"),
        ("Forwarded", 'for="[2001:db8::7]:4711";proto=https', "::7]"),
        ("Location", "/owa/anna/", "anna"),
        ("Location", "https://mail.example/#anna", "anna"),
        ("Referer", "https://mail.example/owa/anna", "anna"),
        ("Referer", "https://anna:geheim@mail.example/", "geheim"),
        ("X-Anything", "🎂 न", "न"),
        ("X-Anything", "🎂 ni\u0303o", "🎂"),
        ("X-Anything", "🎂 ni\u0303o", "\u0303"),
    ],
)
def test_what_headers_tell_is_gone(name: str, value: str, gone: str) -> None:
    clean = redacted_header(name, value, names())
    decoded = [clean, *(_unbase64(part) for part in re.split(r"[ .]", clean))]
    assert not any(gone in text for text in decoded)


def _unbase64(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "==").decode("utf-8", "replace")
    except ValueError:
        return ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-MS-Diagnostics", "UserHasNoMailbox"),
        ("X-MS-Location", "https://outlook.office365.com/Microsoft-Server-ActiveSync"),
        ("X-MS-PolicyKey", "0"),
        ("WWW-Authenticate", "Negotiate"),
        ("Host", "localhost:8443"),
        ("User-Agent", "Apple-iPhone12C1/1902.67"),
        ("MS-ASProtocolVersions", "2.5,12.0,12.1,14.0,14.1"),
        ("Content-Type", "text/html; charset=utf-8"),
        ("Set-Cookie", "a=0; path=/Microsoft-Server-ActiveSync; Secure; HttpOnly"),
        ("Forwarded", "for=unknown;proto=https"),
        ("X-Forwarded-For", "127.0.0.1:8080"),
        ("Location", "/"),
    ],
)
def test_what_headers_may_keep(name: str, value: str) -> None:
    assert redacted_header(name, value, names()) == value


@pytest.mark.parametrize(
    ("query", "kept", "gone"),
    [
        ("Cmd=Sync&User=anna&DeviceId=D1", "Cmd=Sync&User=", "anna"),
        ("Cmd=Sync&anna", "Cmd=Sync&", "anna"),
        ("Cmd=Sync&anna=1", "Cmd=Sync&", "anna"),
        ("Cmd=anna&DeviceType=iPhone", "&DeviceType=iPhone", "anna"),
        ("Cmd=Sync&User=%61nna", "Cmd=Sync&User=", "nna"),
        ("Cmd=GetAttachment&AttachmentName=anna.pdf", "&AttachmentName=", "anna"),
        ("User=a&Cmd=Sync#anna", "&Cmd=", "anna"),
    ],
)
def test_what_targets_tell_is_gone(query: str, kept: str, gone: str) -> None:
    clean = redacted_target(f"https://anna.example{PATH}?{query}", names())
    assert "anna" not in clean
    assert gone not in clean
    assert f"{PATH}?" in clean
    assert kept in clean
