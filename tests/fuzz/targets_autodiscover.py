"""Targets for what phones and Exchange send of Autodiscover."""

from eas_redirect.autodiscover.answer import RedirectAddress, read_answer, write_settings
from eas_redirect.autodiscover.document import MAX_BYTES
from eas_redirect.autodiscover.phone_request import PhoneRequest, read_request
from tests.autodiscover.vectors import (
    DOCTYPE,
    FRAMEWORK_ERROR,
    LOCATION,
    OUTLOOK_ANSWER,
    OUTLOOK_REQUEST,
    USER,
    answer,
    error,
    redirect,
    request,
    settings,
)
from tests.fuzz.target import target

TOKENS = (
    b"<!DOCTYPE a>",
    b"&#0;",
    b"&amp;",
    b"<![CDATA[",
    b"]]>",
    b'xmlns="',
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'encoding="utf-16"',
    b"<Redirect>",
    b"</Action>",
)


@target(
    seeds=lambda: [
        text.encode() for text in (request(), OUTLOOK_REQUEST, DOCTYPE + request("&x;"))
    ],
    tokens=TOKENS,
)
def fuzz_autodiscover_request(data: bytes) -> None:
    """Any bytes are a phone's question with one printable address, or not for phones."""
    read = read_request(data)
    if isinstance(read, PhoneRequest):
        assert read.email_address.isprintable()
        assert len(data) <= MAX_BYTES


@target(
    seeds=lambda: [
        text.encode()
        for text in (
            answer(USER + redirect()),
            answer(USER + settings()),
            answer(USER + error()),
            FRAMEWORK_ERROR,
            OUTLOOK_ANSWER,
        )
    ],
    tokens=TOKENS,
)
def fuzz_autodiscover_answer(data: bytes) -> None:
    """Any bytes are evidence or none; whoever is named in them can be written again, and what is
    written is Settings, which are no evidence."""
    read = read_answer(200, "text/xml", "", data)
    if isinstance(read, RedirectAddress):
        assert read.address.strip() == read.address != ""
        ours = read_answer(200, "text/xml", "", write_settings(LOCATION, read.user))
        assert not isinstance(ours, RedirectAddress)
