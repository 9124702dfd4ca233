"""What the lab's phones and servers say to each other about an account that is added."""

import asyncio

import pytest

from eas_redirect.autodiscover.answer import RedirectAddress, read_discovery_answer
from eas_redirect.autodiscover.phone_request import PATH, PhoneRequest, read_phone_request
from eas_redirect.lab.autodiscovery import (
    XML_TYPE,
    host_of,
    other_address,
    question,
    redirect_answer,
    server_url,
    settings_answer,
)
from eas_redirect.lab.http_server import Reply, Request
from eas_redirect.lab.legacy_exchange import LabAccount, LabAccounts, LegacyExchange
from eas_redirect.lab.phone import basic
from eas_redirect.lab.target_server import TargetServer, make_token
from tests.autodiscover.vectors import N, answer, error, redirect, settings

ANNA = "anna@contoso.example"
NEW = "anna@contoso.mail.onmicrosoft.com"
URL = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
ACCOUNTS = [
    LabAccount(name="anna", user_principal_name=ANNA, password="x", new_address=NEW),
    LabAccount(name="bert", user_principal_name="bert@contoso.example", password="x"),
]


def test_the_product_reads_what_phones_and_servers_write() -> None:
    assert read_phone_request(question("a&b@contoso.example"), XML_TYPE) == PhoneRequest(
        email_address="a&b@contoso.example"
    )
    said = read_discovery_answer(200, XML_TYPE, "", redirect_answer(ANNA, NEW))
    assert isinstance(said, RedirectAddress)
    assert (said.address, said.user.email_address) == (NEW, ANNA)


@pytest.mark.parametrize(
    ("body", "url", "address"),
    [
        (settings_answer(ANNA, URL), URL, None),
        (redirect_answer(ANNA, NEW), None, NEW),
        (answer(settings(URL)).encode(), URL, None),
        (answer(redirect(NEW)).encode(), None, NEW),
        (answer(error()).encode(), None, None),
        (b"<", None, None),
        (b"", None, None),
    ],
)
def test_what_a_phone_reads(body: bytes, url: str | None, address: str | None) -> None:
    assert (server_url(body), other_address(body)) == (url, address)
    assert host_of(NEW) == "autodiscover.contoso.mail.onmicrosoft.com"


def asked(body: bytes, authorization: str | None = basic(ANNA, "x")) -> Reply:
    headers = (("Content-Type", XML_TYPE), ("Host", "autodiscover.contoso.example"))
    logon = (("Authorization", authorization),) if authorization else ()
    request = Request("POST", PATH, (*headers, *logon), body)
    return asyncio.run(LegacyExchange(ACCOUNTS)(request))


def test_the_old_exchange_answers_for_the_address_that_is_asked_for() -> None:
    moved = asked(question(ANNA)).body
    assert isinstance(moved, bytes)
    assert other_address(moved) == NEW
    here = asked(question("bert@contoso.example")).body
    assert isinstance(here, bytes)
    assert server_url(here) == "https://mail.contoso.example/Microsoft-Server-ActiveSync"
    assert asked(question(ANNA), None).status == 401
    invalid = asked(b"<x/>").body
    assert isinstance(invalid, bytes)
    assert f'<Autodiscover xmlns="{N}/responseschema/2006"><Response><Error' in invalid.decode()


def test_the_new_server_tells_who_has_signed_in() -> None:
    host = host_of(NEW)
    target = TargetServer(LabAccounts(ACCOUNTS), modern_hosts=("outlook.office365.com", host))

    def told(authorization: str, body: bytes = question(NEW)) -> Reply:
        headers = (("Host", host), ("Authorization", authorization))
        return asyncio.run(target(Request("POST", PATH, headers, body)))

    assert told(basic(ANNA, "x")).status == 401
    body = told(f"Bearer {make_token(ANNA)}").body
    assert isinstance(body, bytes)
    assert server_url(body) == URL
    assert told(f"Bearer {make_token(ANNA)}", b"<x/>").status == 200
    assert target.arrivals == [], "nobody has arrived by asking"
