"""The target stand-in: who is let in, and who is remembered."""

from dataclasses import replace

import pytest

from eas_redirect.lab.http_server import Reply, Request
from eas_redirect.lab.legacy_exchange import LabAccount, LabAccounts
from eas_redirect.lab.phone import PATH, basic
from eas_redirect.lab.target_server import Newcomer, TargetServer, make_token

ANNA = LabAccount(
    name="anna", user_principal_name="anna@contoso.example", password="Example-Passw0rd"
)
PASSWORD = basic(ANNA.user_principal_name, ANNA.password)
TOKEN = f"Bearer {make_token(ANNA.user_principal_name)}"


async def call(
    host: str, authorization: str | None, method: str = "POST"
) -> tuple[Reply, TargetServer]:
    target = TargetServer(LabAccounts([ANNA]), modern_hosts=["outlook.office365.com"])
    headers = [("Host", host)] + ([("Authorization", authorization)] if authorization else [])
    path = PATH if method == "OPTIONS" else f"{PATH}?Cmd=FolderSync"
    return await target(Request(method, path, tuple(headers))), target


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
@pytest.mark.parametrize(
    ("host", "authorization", "status"),
    [
        ("outlook.office365.com", TOKEN, 200),
        ("outlook.office365.com:443", TOKEN, 200),
        ("outlook.office365.com", PASSWORD, 401),
        ("outlook.office365.com", None, 401),
        ("mail.fabrikam.example", PASSWORD, 200),
        ("mail.fabrikam.example", basic("anna", "wrong"), 401),
    ],
)
async def test_who_is_let_in(
    method: str, host: str, authorization: str | None, status: int
) -> None:
    reply, _ = await call(host, authorization, method)
    assert reply.status == status


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.e30.c", "a.W10.c", "a.eyJ1cG4iOjF9.c"])
async def test_tokens_that_name_nobody_are_refused(token: str) -> None:
    reply, _ = await call("outlook.office365.com", f"Bearer {token}")
    assert (reply.status, reply.header("WWW-Authenticate")) == (401, "Bearer")


async def test_arrivals_are_remembered() -> None:
    _, target = await call("outlook.office365.com", TOKEN)
    user, host = ANNA.user_principal_name, "outlook.office365.com"
    assert target.arrivals == [Newcomer(user, host, "FolderSync", 200)]


@pytest.mark.parametrize(
    ("sent_back", "password", "status"),
    [(True, ANNA.password, 451), (True, "wrong", 401), (False, ANNA.password, 200)],
)
async def test_whom_it_believes_to_be_elsewhere_it_sends_back(
    sent_back: bool, password: str, status: int
) -> None:
    back = "https://mail.contoso.example/Microsoft-Server-ActiveSync"
    target = TargetServer(LabAccounts([replace(ANNA, sent_back=sent_back)]), back=back)
    headers = (("Host", "mail.fabrikam.example"), ("Authorization", basic("anna", password)))
    reply = await target(Request("POST", f"{PATH}?Cmd=FolderSync", headers))
    assert (reply.status, reply.header("X-MS-Location")) == (
        status,
        back if status == 451 else None,
    )
    assert [arrival.status for arrival in target.arrivals] == [status]


async def test_what_is_not_eas_is_not_found() -> None:
    reply = await TargetServer(LabAccounts([]))(Request("GET", "/", ()))
    assert reply.status == 404
