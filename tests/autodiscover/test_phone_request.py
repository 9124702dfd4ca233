"""What is a phone's question to Autodiscover, and for whom."""

import pytest

from eas_redirect.autodiscover.phone_request import (
    REQUEST,
    NotForPhones,
    PhoneRequest,
    is_autodiscover,
    is_outlooks,
    read_phone_request,
)
from tests.autodiscover.vectors import DOCTYPE, OUTLOOK_REQUEST, N, request

ANNA = PhoneRequest(email_address="anna@example.test")


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("POST", "/autodiscover/autodiscover.xml", True),
        ("POST", "/Autodiscover/AutoDiscover.XML", True),
        ("post", "/autodiscover/autodiscover.xml?x=1", True),
        ("GET", "/autodiscover/autodiscover.xml", False),
        ("HEAD", "/autodiscover/autodiscover.xml", False),
        ("POST", "/autodiscover/autodiscover.svc", False),
        ("POST", "/autodiscover/autodiscover.json?Email=a@b", False),
        ("POST", "/autodiscover/autodiscover.xml/", False),
        ("POST", "/autodiscover/wssecurity/autodiscover.xml", False),
        ("POST", "/Microsoft-Server-ActiveSync", False),
    ],
)
def test_the_path(method: str, target: str, expected: bool) -> None:
    assert is_autodiscover(method, target) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (request().encode(), ANNA),
        (request("anna").encode(), PhoneRequest(email_address="anna")),
        (request(" anna@example.test\r\n").encode(), ANNA),
        (request(declaration="").encode(), ANNA),
        (
            request(declaration='<?xml version="1.0" encoding="utf-16"?>').encode("utf-16"),
            ANNA,
        ),
        (
            request(
                "müller@example.test", declaration="<?xml version='1.0' encoding='latin1'?>"
            ).encode("latin-1"),
            PhoneRequest(email_address="müller@example.test"),
        ),
        (
            request()
            .replace("<Request>", "<!-- a client of ours --><Request>")
            .replace("anna@", "<![CDATA[anna@]]>")
            .encode(),
            ANNA,
        ),
        (
            request()
            .replace("<Autodiscover xmlns=", "<m:Autodiscover xmlns:m=")
            .replace("<", "<m:")
            .replace("<m:/", "</m:")
            .replace("<m:?xml", "<?xml")
            .replace("<m:m:", "<m:")
            .encode(),
            ANNA,
        ),
    ],
)
def test_reads_what_clients_write(body: bytes, expected: PhoneRequest) -> None:
    assert read_phone_request(body) == expected


OTHERS = {
    "outlook": OUTLOOK_REQUEST,
    "both schemas": request().replace(
        "</Request>",
        f"<AcceptableResponseSchema>{N}/outlook/responseschema/2006a</AcceptableResponseSchema>"
        "</Request>",
    ),
    "no schema": request(schema=""),
    "outlook's answer": request(schema=f"{N}/outlook/responseschema/2006a"),
    "two addresses": request().replace(
        "<Accept", "<EMailAddress>bob@example.test</EMailAddress><Accept"
    ),
    "two requests": request().replace("</Request>", "</Request><Request/>"),
    "no request": f'<Autodiscover xmlns="{N}/mobilesync/requestschema/2006"/>',
    "another element": request().replace("<Accept", "<LegacyDN>/o=x</LegacyDN><Accept"),
    "an element inside": request("<b>anna@example.test</b>"),
    "an empty address": request(" "),
    "another root": request()
    .replace("Autodiscover xmlns", "Discover xmlns")
    .replace("</Autodiscover", "</Discover"),
    "another namespace": request().replace("mobilesync/requestschema", "other/requestschema"),
    "a root in another namespace": request()
    .replace(f'xmlns="{REQUEST}"', 'xmlns="urn:x"')
    .replace("<Request>", f'<Request xmlns="{REQUEST}">'),
    "an element behind the address": request("anna@example.test<b/>"),
    "beside the request": request().replace("</Request>", "</Request><Other/>"),
    "an element in the schema": request(schema=f"{N}/mobilesync/responseschema/2006<b/>"),
    "a long address": request("a" * 257),
    "a control character": request("anna&#10;@example.test"),
    "doctype": DOCTYPE + request("&x;", declaration=""),
    "json": '{"Email": "anna@example.test"}',
    "soap": "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'/>",
    "wbxml": "\x03\x01\x6a",
    "too long": request() + " " * 64 * 1024,
    "nothing": "",
}


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
def test_everything_else_is_not_for_phones(body: str) -> None:
    read = read_phone_request(body.encode())
    assert isinstance(read, NotForPhones)
    assert read.why.endswith(".")
    assert "anna" not in read.why


def test_the_longest_address() -> None:
    assert read_phone_request(request("a" * 256).encode()) == PhoneRequest(email_address="a" * 256)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (OUTLOOK_REQUEST.encode(), True),
        (OUTLOOK_REQUEST.encode("utf-16"), True),
        (request().encode(), False),
        (request(schema=f"{N}/outlook/responseschema/2006a").encode(), False),
        (b"", False),
    ],
)
def test_outlooks_own_questions(body: bytes, expected: bool) -> None:
    assert is_outlooks(body) is expected
