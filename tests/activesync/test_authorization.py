"""Who asks: Basic, NTLM, Bearer, Negotiate, and nothing of their secrets."""

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.authorization import (
    MAX_CREDENTIALS,
    MAX_LOGON,
    ConnectionLogon,
    Credentials,
    Identity,
    Logon,
    contradicts,
    identify,
    parse_logon,
    read_authorization,
    read_authorizations,
)
from eas_redirect.activesync.request import EASRequest

ANNA = Logon(text="CONTOSO\\anna", user="anna", domain="CONTOSO", format="down_level")
SECRET = "hunter2-Basic-Passw0rd"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def basic(user: str, password: str = SECRET, encoding: str = "utf-8") -> str:
    return "Basic " + b64(f"{user}:{password}".encode(encoding))


def ntlm3(domain: str, user: str, *, unicode: bool = True, extra: bytes = SECRET.encode()) -> bytes:
    """An AUTHENTICATE_MESSAGE (MS-NLMP 2.2.1.3) with a response that must not be kept."""
    codec = "utf-16-le" if unicode else "latin-1"
    parts = [extra, extra, domain.encode(codec), user.encode(codec), b"", b""]
    fields, payload, at = b"", b"", 64
    for part in parts:
        fields += struct.pack("<HHI", len(part), len(part), at)
        payload += part
        at += len(part)
    return b"NTLMSSP\0" + struct.pack("<I", 3) + fields + struct.pack("<I", int(unicode)) + payload


def der(tag: int, content: bytes) -> bytes:
    """X.690 8.1.3: the short form of a length, or the long one."""
    size = len(content)
    long = size.to_bytes((size.bit_length() + 7) // 8)
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(long)]) + long
    return bytes([tag]) + length + content


def spnego(message: bytes, *, bare: bool = False) -> bytes:
    """A NegTokenResp (RFC 4178 4.2.2) as Windows and pyspnego send it with an NTLM message."""
    state, mechanism = der(0xA0, der(0x0A, b"\1")), der(0xA1, der(0x06, bytes(10)))
    signature = der(0xA3, der(0x04, bytes(16)))
    token = der(0xA2, der(0x04, message))
    fields = token if bare else state + mechanism + token + signature
    return der(0xA1, der(0x30, fields))


def jwt(claims: object) -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    return f"Bearer {part(b'{}')}.{part(json.dumps(claims).encode())}.{part(SECRET.encode())}"


SIGNATURE = b"NTLMSSP\0"
_ONE_BYTE_EACH = ntlm3("", "\x00\xd8", unicode=False)  # half a pair, when two make a character
NOT_UTF_16 = _ONE_BYTE_EACH[:60] + b"\1\0\0\0" + _ONE_BYTE_EACH[64:]


@pytest.mark.parametrize(
    ("text", "user", "domain", "form"),
    [
        ("anna", "anna", None, "bare"),
        ("CONTOSO\\anna", "anna", "CONTOSO", "down_level"),
        ("contoso.example\\anna", "anna", "contoso.example", "down_level"),
        (".\\anna", "anna", ".", "down_level"),
        ("CONTOSO\\anna@old.example", "anna@old.example", "CONTOSO", "down_level"),
        ("anna@contoso.example", "anna", "contoso.example", "upn"),
        ("anna@home@contoso.example", "anna@home", "contoso.example", "upn"),
        ("  anna ", "anna", None, "bare"),
        ("Müller, Jürgen (ext) *VIP* = A #1", "Müller, Jürgen (ext) *VIP* = A #1", None, "bare"),
        ("a" * MAX_LOGON, "a" * MAX_LOGON, None, "bare"),
    ],
)
def test_logons(text: str, user: str, domain: str | None, form: str) -> None:
    logon = parse_logon(text)
    assert logon is not None
    assert (logon.text, logon.user, logon.domain) == (text.strip(), user, domain)
    assert logon.format == form


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\\",
        "@",
        "/",
        "\\\\anna",
        "//anna",
        "\\@contoso.example",
        "CONTOSO\\",
        "CONTOSO/",
        "anna@",
        "@contoso.example",
        "CONTOSO\\sub\\anna",
        "CONTOSO/sub/anna",
        "CONTOSO\\sub/anna",
        "an\0na",
        "an\nna",
        "an\x7fna",
        "an\u202ena",
        "an\ud800na",
        "a" * (MAX_LOGON + 1),
    ],
)
def test_what_is_no_logon(text: str) -> None:
    assert parse_logon(text) is None


ODD_LOGONS = [
    ("\\anna", "anna"),
    ("/anna", "anna"),
    ("\\anna@contoso.example", "anna@contoso.example"),
    ("CONTOSO/anna", "CONTOSO\\anna"),
    ("contoso.example/anna", "contoso.example\\anna"),
    ("CONTOSO/anna@old.example", "CONTOSO\\anna@old.example"),
    (" \\anna ", "anna"),
]


@pytest.mark.parametrize(("written", "meant"), ODD_LOGONS)
def test_an_empty_domain_is_none_and_a_slash_is_a_backslash(written: str, meant: str) -> None:
    """One reader: the same wherever a logon stands."""
    logon = parse_logon(meant)
    assert logon is not None
    assert parse_logon(written) == logon
    assert read_authorization(basic(written)).logon == logon
    for message in (ntlm3("", written), spnego(ntlm3("", written))):
        assert read_authorization(f"Negotiate {b64(message)}").logon == logon
    assert read_authorization(jwt({"upn": written})).logon == logon
    asked = identify(EASRequest(method="POST", user=written), read_authorization(None))
    assert asked.logon == logon


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (basic("CONTOSO\\anna"), "CONTOSO\\anna"),
        (basic("anna@contoso.example"), "anna@contoso.example"),
        (basic("anna", "a:b:c"), "anna"),
        (basic("anna", ""), "anna"),
        (basic("jürgen@contoso.example"), "jürgen@contoso.example"),
        (basic("jürgen@contoso.example", encoding="latin-1"), "jürgen@contoso.example"),
        (basic("žoržo€@contoso.example", encoding="cp1252"), "žoržo€@contoso.example"),
        (basic("anna").replace("Basic", "bAsIc"), "anna"),
        (basic("anna").replace(" ", "   "), "anna"),
        (basic("anna").rstrip("="), "anna"),
        (f"NTLM {b64(ntlm3('CONTOSO', 'anna'))}", "CONTOSO\\anna"),
        (f"NTLM {b64(ntlm3('', 'anna@contoso.example'))}", "anna@contoso.example"),
        (f"NTLM {b64(ntlm3('', 'anna'))}", "anna"),
        (f"NTLM {b64(ntlm3('', 'anna', extra=b''))}", "anna"),  # where the fixed part ends
        (f"NTLM {b64(ntlm3('CONTOSO', 'jürgen', unicode=False))}", "CONTOSO\\jürgen"),
        (f"NTLM {b64(ntlm3('', 'a', unicode=False))}", "a"),
        (f"NTLM {b64(ntlm3('CONTOSO', 'жанна'))}", "CONTOSO\\жанна"),
        (f"Negotiate {b64(ntlm3('CONTOSO', 'anna'))}", "CONTOSO\\anna"),
        (f"Negotiate {b64(spnego(ntlm3('CONTOSO', 'anna')))}", "CONTOSO\\anna"),
        (f"Negotiate {b64(spnego(ntlm3('CONTOSO', 'anna'), bare=True))}", "CONTOSO\\anna"),
        (f"Negotiate {b64(spnego(ntlm3('', 'anna@contoso.example')))}", "anna@contoso.example"),
        (jwt({"smtp": "x@y.example", "upn": "anna@contoso.example"}), "anna@contoso.example"),
        (jwt({"preferred_username": "anna@contoso.example"}), "anna@contoso.example"),
        (jwt({"upn": 7, "smtp": "anna@contoso.example"}), "anna@contoso.example"),
    ],
)
def test_names_that_are_read(value: str, text: str) -> None:
    credentials = read_authorization(value)
    assert credentials.problem is None
    assert credentials.logon == parse_logon(text)
    assert SECRET not in repr(credentials)


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        (None, "none"),
        ("", "other"),
        (basic("anna").replace(" ", "\t"), "other"),
        ("Digest username=anna", "other"),
        (f"NTLM {b64(b'NTLMSSP' + bytes([0, 1, 0, 0, 0]) + bytes(20))}", "ntlm"),
        (f"Negotiate {b64(b'`' + bytes(200))}", "negotiate"),
        (f"NTLM {b64(SIGNATURE + bytes([1, 0, 0, 0]))}", "ntlm"),
        ("Negotiate !!", "negotiate"),
        (f"Negotiate {b64(spnego(b'`' + bytes(20)))}", "negotiate"),  # of Kerberos
        ("Bearer opaque-token", "bearer"),
        (jwt({"sub": "4711"}), "bearer"),
        (jwt({"upn": None, "smtp": ""}), "bearer"),
    ],
)
def test_headers_that_name_nobody(value: str | None, scheme: str) -> None:
    credentials = read_authorization(value)
    assert credentials == Credentials(scheme=credentials.scheme)
    assert credentials.scheme == scheme


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic !!!",
        basic("anna").replace("Basic ", "Basic !"),
        f"Basic {b64(b'no colon')}",
        f"Basic {b64(b':password')}",
        f"Basic {b64(bytes([0x81]) + b'nna:password')}",
        f"Basic {b64(b'an' + bytes(1) + b'na:x')}",
        "Basic " + "A" * (MAX_CREDENTIALS + 1),
        "NTLM",
        "NTLM AAAA",
        f"NTLM {b64(ntlm3('', ''))}",
        f"NTLM {b64(SIGNATURE + bytes(3))}",
        f"NTLM {b64(bytes(8) + ntlm3('CONTOSO', 'anna')[8:])}",
        f"NTLM {b64(NOT_UTF_16)}",
        f"NTLM {b64(ntlm3('CONTOSO', 'anna')[:63])}",
        f"NTLM {b64(ntlm3('CONTOSO', 'anna')[:-1])}",
        f"NTLM {b64(ntlm3('CONTOSO', 'an' + chr(0) + 'na'))}",
        "Bearer a.b.c",
        "Bearer a.!.c",
        jwt([]),
        jwt("anna"),
        jwt({"upn": "an\nna"}),
        f"Bearer e30.{base64.urlsafe_b64encode(b'[' * 40000).decode()}.x",
    ],
)
def test_malformed_headers_have_a_problem_and_no_name(value: str) -> None:
    credentials = read_authorization(value)
    assert credentials.logon is None
    assert credentials.problem
    assert credentials.scheme == value.partition(" ")[0].lower()
    # Nobody else is asked about instead: Exchange read a name there that we could not.
    request = EASRequest(method="POST", user="berta@contoso.example")
    identity = identify(request, credentials)
    assert identity.logon is None
    assert identity.problem


def test_the_longest_credentials() -> None:
    password = "x" * (MAX_CREDENTIALS // 4 * 3 - len("anna:"))
    longest = basic("anna", password)
    assert len(longest) == len("Basic ") + MAX_CREDENTIALS
    assert read_authorization(longest).logon == parse_logon("anna")


def test_a_problem_outweighs_a_name() -> None:
    """Whatever else is there: nobody is proven, and nobody is looked up."""
    request = EASRequest(method="POST")
    both = Credentials(scheme="basic", logon=ANNA, problem="it is damaged")
    assert identify(request, both).logon is None
    assert not Identity(logon=ANNA, source="authorization", problem="it is damaged").proven


def test_ntlm_fields_that_point_elsewhere_are_refused() -> None:
    message = ntlm3("CONTOSO", "anna")
    for field in (28, 36):
        for place in (0, 63, len(message), 0xFFFFFFFF):
            moved = message[: field + 4] + struct.pack("<I", place) + message[field + 8 :]
            assert read_authorization(f"NTLM {b64(moved)}").problem


@given(st.text())
def test_any_header_value_gives_credentials(value: str) -> None:
    read_authorization(value)


@given(
    st.sampled_from(["Basic", "NTLM", "Negotiate", "Bearer"]),
    st.binary(max_size=120),
    st.booleans(),
)
def test_any_bytes_inside_credentials(scheme: str, data: bytes, ntlm: bool) -> None:
    data = b"NTLMSSP\0\x03\0\0\0" + data if ntlm else data
    text = f"e30.{b64(data)}.x" if scheme == "Bearer" else b64(data)
    credentials = read_authorization(f"{scheme} {text}")
    assert credentials.logon is None or credentials.problem is None


SOMEBODY = ConnectionLogon(None)
BERTA = ConnectionLogon(parse_logon("CONTOSO\\berta"))


@pytest.mark.parametrize(
    ("header", "connection", "user", "chosen", "source"),
    [
        (basic("CONTOSO\\anna"), None, "berta", "CONTOSO\\anna", "authorization"),
        (basic("CONTOSO\\anna"), None, None, "CONTOSO\\anna", "authorization"),
        (basic("CONTOSO\\anna"), BERTA, "carl", "CONTOSO\\anna", "authorization"),
        (basic("CONTOSO\\anna"), SOMEBODY, "carl", "CONTOSO\\anna", "authorization"),
        (None, BERTA, "CONTOSO\\anna", "CONTOSO\\berta", "connection"),
        (None, BERTA, None, "CONTOSO\\berta", "connection"),
        (None, None, "CONTOSO\\anna", "CONTOSO\\anna", "query"),
    ],
)
def test_the_header_comes_before_the_connection_before_the_query(
    header: str | None,
    connection: ConnectionLogon | None,
    user: str | None,
    chosen: str,
    source: str,
) -> None:
    request = EASRequest(method="POST", user=user)
    identity = identify(request, read_authorization(header), connection)
    assert (identity.logon, identity.source) == (parse_logon(chosen), source)
    assert identity.problem is None
    assert identity.proven is (source != "query")


@pytest.mark.parametrize(
    ("header", "connection"),
    [
        ("Negotiate YIIF", None),
        ("Negotiate YIIF", BERTA),
        ("Bearer opaque", None),
        ("Digest username=anna", None),
        ("Token x", BERTA),
        (basic("CONTOSO\\anna").replace(" ", "\t"), None),
        ("", None),
        (None, SOMEBODY),
    ],
)
def test_a_logon_that_cannot_be_read_is_never_overruled_by_the_query(
    header: str | None, connection: ConnectionLogon | None
) -> None:
    """The journal may show whom the query names; nobody is looked up by it."""
    request = EASRequest(method="POST", user="CONTOSO\\anna")
    identity = identify(request, read_authorization(header), connection)
    assert identity.problem
    assert not identity.proven
    assert (identity.logon, identity.source) == (parse_logon("CONTOSO\\anna"), "query")


@pytest.mark.parametrize("user", [None, "an\0na", "\\"])
def test_a_request_that_names_nobody(user: str | None) -> None:
    identity = identify(EASRequest(method="POST", user=user), read_authorization(None))
    assert identity.logon is None
    assert identity.problem


def test_two_headers_name_nobody() -> None:
    assert read_authorizations([]) == Credentials(scheme="none")
    assert read_authorizations([basic("anna")]).logon == parse_logon("anna")
    for values in ([basic("anna")] * 2, [basic("anna"), ""], ["", ""]):
        assert read_authorizations(values).problem


@pytest.mark.parametrize(
    ("user", "logon", "contradiction"),
    [
        ("CONTOSO\\berta", "CONTOSO\\anna", "yes"),
        ("berta", "CONTOSO\\anna", "yes"),
        ("anna", "CONTOSO\\ANNA", "no"),
        ("FABRIKAM\\anna", "CONTOSO\\anna", "cannot tell"),
        ("anna@contoso.example", "Anna@Contoso.example", "no"),
        ("berta@contoso.example", "anna@contoso.example", "yes"),
        ("anna.mueller@contoso.example", "CONTOSO\\amueller", "cannot tell"),
        ("an\0na", "CONTOSO\\anna", "cannot tell"),
        (None, "CONTOSO\\anna", "cannot tell"),
        ("anna", None, "cannot tell"),
    ],
)
def test_contradictions(user: str | None, logon: str | None, contradiction: str) -> None:
    credentials = Credentials(scheme="basic", logon=parse_logon(logon) if logon else None)
    found = contradicts(EASRequest(method="POST", user=user), credentials)
    assert found is (contradiction == "yes")
