"""Phones that ask Autodiscover, through the hooks: who is told, and that nothing else changes."""

import base64
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from eas_redirect.autodiscover.answer import User, write_settings
from tests.autodiscover.vectors import (
    DOCTYPE,
    FRAMEWORK_ERROR,
    OUTLOOK_ANSWER,
    OUTLOOK_REQUEST,
    USER,
    N,
    answer,
    error,
    redirect,
    request,
    settings,
)
from tests.test_addon import CONFIG, LOCATION, Bench

ANNA = "anna@contoso.example"
CERTAIN = answer(USER + redirect("anna@contoso.mail.onmicrosoft.example"))
WEAK = answer(USER + error())
TOLD = write_settings(
    LOCATION, User(email_address="anna@example.test", display_name="Anna Example", culture="en:us")
)
ON = 'phones = "listed"'
NAMED = '[exchange]\nhost_names = ["mail.contoso.example"]\n'
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"

type Make = Callable[..., Bench]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Make]:
    benches: list[Bench] = []

    def make(table: str = ON, more: str = NAMED, mode: str = "enforce", **options: str) -> Bench:
        bench = Bench(tmp_path)
        text = CONFIG.replace("enforce", mode) + more + f"[autodiscover]\n{table}\n"
        (tmp_path / "eas.toml").write_text(text, "utf-8")
        bench.context.__enter__()
        benches.append(bench)
        bench.configure(**options)
        return bench

    yield make
    for bench in benches:
        bench.addon.done()
        bench.context.__exit__(None, None, None)


def ask(
    body: str | bytes = CERTAIN,
    asked: str | bytes | None = None,
    *,
    user: str | None = ANNA,
    status: int = 200,
    agent: str = "Android/9-EAS-2.0",
    path: str = "/autodiscover/autodiscover.xml",
    content_type: str = "text/xml; charset=utf-8",
    **headers: str,
) -> http.HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://ex07.contoso.example")
    asked = request(ANNA) if asked is None else asked
    flow.request.method = "POST"
    flow.request.path = path
    flow.request.headers = http.Headers(
        host="autodiscover.contoso.example", content_type="text/xml", user_agent=agent
    )
    flow.request.raw_content = asked.encode() if isinstance(asked, str) else asked
    if user is not None:
        token = base64.b64encode(f"{user}:secret".encode()).decode()
        flow.request.headers["Authorization"] = f"Basic {token}"
    assert flow.response is not None
    flow.response.status_code = status
    raw = body.encode() if isinstance(body, str) else body
    flow.response.headers = http.Headers(
        content_type=content_type, date=DATE, content_length=str(len(raw))
    )
    for name, value in headers.items():
        flow.response.headers[name.replace("_", "-")] = value
    flow.response.raw_content = raw
    return flow


async def run(bench: Bench, flow: http.HTTPFlow) -> http.HTTPFlow:
    """As mitmproxy does it: a body that is streamed goes through the hook, and is not kept."""
    raw = flow.request.raw_content or b""
    given, flow.response = flow.response, None
    assert given is not None
    bench.addon.requestheaders(flow)
    stream = flow.request.stream
    if stream:
        flow.request.raw_content = None
    if callable(stream):
        passed = [stream(raw[at : at + 100]) for at in range(0, len(raw), 100)]
        assert b"".join(bytes(p) for p in passed if isinstance(p, bytes)) == raw
        assert stream(b"") == b""
    flow.response = given
    bench.addon.responseheaders(flow)
    if given.stream:
        given.raw_content = None
    await bench.respond(flow)
    return flow


def line_of(bench: Bench) -> dict[str, dict[str, object]]:
    (line,) = (x for x in bench.journal if x["event"]["action"] == "eas.autodiscover")
    return line


def reason_of(bench: Bench) -> object:
    return line_of(bench)["event"]["reason"]


def got(flow: http.HTTPFlow) -> http.Response:
    assert flow.response is not None
    return flow.response


async def test_a_phone_is_told_its_new_server(made: Make) -> None:
    bench = made()
    flow = ask(set_cookie="a=b", x_ms_credential_service_url="https://sts.example.test")
    told = got(await run(bench, flow))
    assert (told.status_code, told.raw_content) == (200, TOLD)
    assert sorted((name.lower(), value) for name, value in told.headers.items()) == [
        ("cache-control", "private"),
        ("content-length", str(len(TOLD))),
        ("content-type", "text/xml; charset=utf-8"),
        ("date", DATE),
        ("x-ms-credential-service-url", "https://sts.example.test"),
    ]
    line = line_of(bench)
    assert line["event"]["reason"] == "mailbox_moved"
    assert line["eas"]["autodiscover"] == "redirect"
    assert line["eas"]["decision"] == "redirect"
    assert line["eas"]["redirect"] == {"location": LOCATION}
    assert line["http"]["response"] == {"status_code": 200}
    assert "ledger" not in line["eas"]
    assert not [x for x in bench.journal if x["event"]["action"] == "eas.ledger"]


@pytest.mark.parametrize(
    "flow",
    [
        lambda: ask(path="/Autodiscover/AutoDiscover.XML"),
        lambda: ask(
            asked=request(ANNA, declaration='<?xml version="1.0" encoding="utf-16"?>').encode(
                "utf-16"
            )
        ),
        lambda: ask(asked=request("anna"), user="anna"),
        lambda: ask(asked=request("anna.moved@contoso.example"), user="CONTOSO\\anna"),
        lambda: ask(asked=request(ANNA.upper())),
        lambda: ask(gzip.compress(CERTAIN.encode()), content_encoding="gzip"),
        lambda: ask(
            answer(USER + redirect("SMTP:Anna@Contoso.Mail.OnMicrosoft.Example")), agent="samsung-x"
        ),
        lambda: ask(agent="android-Mail/2024"),
    ],
)
async def test_the_ways_in_which_phones_ask(made: Make, flow: Callable[[], http.HTTPFlow]) -> None:
    bench = made()
    assert got(await run(bench, flow())).raw_content == TOLD
    assert reason_of(bench) == "mailbox_moved"


async def test_what_upstream_does_not_say_of_the_user_is_the_directorys(made: Make) -> None:
    told = await run(made(), ask(answer(redirect("anna@contoso.mail.onmicrosoft.example"))))
    assert got(told).raw_content == write_settings(LOCATION, User(email_address=ANNA))


OTHERS: dict[str, tuple[Callable[[], http.HTTPFlow], str]] = {
    "another address": (lambda: ask(answer(redirect("anna@other.example"))), "other_answer"),
    "settings": (lambda: ask(answer(USER + settings())), "other_answer"),
    "error 2, and weak is off": (lambda: ask(WEAK), "other_answer"),
    "403, and weak is off": (lambda: ask("no", status=403), "other_answer"),
    "framework error": (lambda: ask(FRAMEWORK_ERROR), "other_answer"),
    "500": (lambda: ask(CERTAIN, status=500), "other_answer"),
    "302": (lambda: ask("", status=302), "other_answer"),
    "doctype in the answer": (
        lambda: ask(DOCTYPE + answer(redirect("&x;"), declaration="")),
        "other_answer",
    ),
    "a long answer": (lambda: ask(CERTAIN + " " * 70_000), "other_answer"),
    "outlook": (lambda: ask(OUTLOOK_ANSWER, OUTLOOK_REQUEST), "other_answer"),
    "outlook's answer": (lambda: ask(OUTLOOK_ANSWER), "other_answer"),
    "doctype": (lambda: ask(asked=DOCTYPE + request("&x;", declaration="")), "other_answer"),
    "a long request": (lambda: ask(asked=request(ANNA) + " " * 70_000), "other_answer"),
    "no request": (lambda: ask(asked=b""), "other_answer"),
    "cut short": (lambda: ask(asked=request(ANNA)[:-1]), "other_answer"),
    "no schema": (lambda: ask(asked=request(ANNA, schema="")), "other_answer"),
    "outlook's schema": (
        lambda: ask(asked=request(ANNA, schema=f"{N}/outlook/responseschema/2006a")),
        "other_answer",
    ),
    "another's address": (
        lambda: ask(asked=request("bert@contoso.example")),
        "autodiscover_identity_mismatch",
    ),
    "another's logon": (
        lambda: ask(user="bert@contoso.example"),
        "autodiscover_identity_mismatch",
    ),
    "nobody's address": (
        lambda: ask(asked=request("nobody@contoso.example")),
        "autodiscover_identity_mismatch",
    ),
    "no address": (lambda: ask(asked=request("@@")), "autodiscover_identity_mismatch"),
    "an ambiguous address": (
        lambda: ask(asked=request("desk@contoso.example"), user="shared1@contoso.example"),
        "autodiscover_identity_mismatch",
    ),
    "nobody logs on": (lambda: ask(user=None), "no_identity"),
    "a mailbox here": (
        lambda: ask(asked=request("bert@contoso.example"), user="bert@contoso.example"),
        "recipient_has_mailbox",
    ),
    "unlisted": (lambda: ask(agent="Apple-iPhone9C1/1602.92"), "autodiscover_client_not_listed"),
    "no agent": (lambda: ask(agent=""), "autodiscover_client_not_listed"),
    "listed later": (lambda: ask(agent="My Android"), "autodiscover_client_not_listed"),
    "loop": (
        lambda: ask(
            answer(redirect("loop@loop.example.test")),
            request("loop@contoso.example"),
            user="loop@contoso.example",
        ),
        "redirect_loop",
    ),
    "no relationship": (
        lambda: ask(
            answer(redirect("unmapped@unmapped.example.test")),
            request("unmapped@contoso.example"),
            user="unmapped@contoso.example",
        ),
        "no_relationship",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_everything_else_keeps_upstreams_answer(made: Make, name: str) -> None:
    make_flow, reason = OTHERS[name]
    bench, flow = made(), make_flow()
    before = flow.response
    assert before is not None
    state, raw = before.data.headers.fields, before.raw_content
    after = got(await run(bench, flow))
    assert after is before
    assert after.data.headers.fields == state
    assert after.raw_content in (raw, None)
    assert reason_of(bench) == reason
    assert line_of(bench)["eas"]["decision"] == "pass"


@pytest.mark.parametrize(
    "flow",
    [
        lambda: ask(path="/autodiscover/autodiscover.svc"),
        lambda: ask(path="/autodiscover/autodiscover.json?Email=anna%40contoso.example"),
        lambda: ask("", status=401),
    ],
)
async def test_what_is_no_question_leaves_no_line(
    made: Make, flow: Callable[[], http.HTTPFlow]
) -> None:
    bench = made()
    await run(bench, flow())
    assert not bench.journal


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
async def test_other_methods_are_nobodys(made: Make, method: str) -> None:
    bench, flow = made(), ask()
    flow.request.method = method
    await run(bench, flow)
    assert got(flow).stream is True
    assert not bench.journal


async def test_off_is_as_if_it_were_not_there(made: Make) -> None:
    bench = made('phones = "off"')
    flow = await run(bench, ask())
    assert (flow.request.stream, got(flow).stream, flow.metadata) == (True, True, {})
    assert not bench.journal


async def test_observe_mode_journals_what_it_would_do(made: Make) -> None:
    bench, flow = made(mode="observe"), ask()
    before = flow.response
    assert got(await run(bench, flow)) is before
    line = line_of(bench)
    assert line["eas"]["decision"] == "would_redirect"
    assert str(line["message"]).startswith(f"would answer Settings that lead to {LOCATION} (")


async def test_all_phones(made: Make) -> None:
    bench = made('phones = "all"')
    assert got(await run(bench, ask(agent="Apple-iPhone9C1/1602.92"))).raw_content == TOLD


async def test_a_list_of_ones_own(made: Make) -> None:
    bench = made('phones = "listed"\nlisted = ["Apple-"]')
    assert got(await run(bench, ask(agent="Apple-iPhone9C1/1602.92"))).raw_content == TOLD
    assert got(await run(bench, ask())).raw_content == CERTAIN.encode()


# -- weak evidence ---------------------------------------------------------------------------


@pytest.mark.parametrize("flow", [lambda: ask(WEAK), lambda: ask("denied", status=403)])
async def test_weak_evidence_counts_where_logons_are_checked(
    made: Make, flow: Callable[[], http.HTTPFlow]
) -> None:
    bench = made('phones = "listed"\nweak = true')
    before = got(await run(bench, flow()))
    assert before.raw_content != TOLD
    assert reason_of(bench) == "logon_not_proven", "nobody has been asked for a logon yet"
    await run(bench, ask("", user=None, status=401))
    told = got(await run(bench, flow()))
    assert told.status_code == 200
    assert LOCATION.encode() in (told.raw_content or b"")


async def test_a_challenge_of_activesync_says_nothing_of_autodiscover(made: Make) -> None:
    bench = made('phones = "listed"\nweak = true')
    assert bench.addon.exchanges is not None
    flow = ask(WEAK)
    bench.addon.exchanges.challenges.met(f"{flow.server_conn.address[0]}:22")  # type: ignore[index]
    await run(bench, flow)
    assert reason_of(bench) == "logon_not_proven"


async def test_an_address_that_is_no_logon_proves_nothing(made: Make) -> None:
    bench = made('phones = "listed"\nweak = true')
    await run(bench, ask("", user=None, status=401))
    await run(bench, ask(WEAK, user="anna.moved@contoso.example"))
    assert reason_of(bench) == "recipient_ambiguous"


# -- the loop guard --------------------------------------------------------------------------


async def test_the_name_called_for_autodiscover_proves_nothing(made: Make) -> None:
    bench = made(more="")
    assert got(await run(bench, ask())).raw_content == CERTAIN.encode()
    assert reason_of(bench) == "redirect_loop"


def device(user: str | None, status: int, host: str = "mail.contoso.example") -> http.HTTPFlow:
    flow = ask("", user=user, status=status, path="/Microsoft-Server-ActiveSync?Cmd=FolderSync")
    flow.request.headers["Host"] = host
    return flow


async def test_a_name_that_devices_call_is_known(made: Make) -> None:
    bench = made(more="")
    await run(bench, device("bert@contoso.example", 401))
    await run(bench, device(None, 200))
    await run(bench, ask())
    assert reason_of(bench) == "redirect_loop", "a name that anybody may have called"
    await run(bench, device("bert@contoso.example", 200))
    assert got(await run(bench, ask())).raw_content == TOLD


async def test_nobody_is_sent_to_a_name_that_devices_call(made: Make) -> None:
    bench = made()
    await run(bench, device("bert@contoso.example", 200, host="outlook.office365.com"))
    await run(bench, ask())
    assert reason_of(bench) == "redirect_loop"


async def test_names_that_devices_call_are_bounded(made: Make) -> None:
    bench = made()
    for number in range(40):
        await run(bench, device("bert@contoso.example", 200, host=f"n{number}.contoso.example"))
    assert bench.addon.exchanges is not None
    assert len(bench.addon.exchanges.device_names()) == 16


# -- what else may happen --------------------------------------------------------------------


async def test_an_exchange_that_fails_leaves_a_line(made: Make) -> None:
    bench, flow = made(), ask()
    flow.response = None
    bench.addon.requestheaders(flow)
    bench.addon.error(flow)
    assert reason_of(bench) == "no_answer"
    assert bench.addon.exchanges is not None
    assert len(bench.addon.exchanges) == 0


async def test_an_answer_that_comes_before_the_question_is_whole_passes(made: Make) -> None:
    bench, flow = made(), ask()
    given, flow.response = flow.response, None
    bench.addon.requestheaders(flow)
    flow.response, flow.request.raw_content = given, None
    bench.addon.responseheaders(flow)
    assert got(flow).stream is True
    await bench.respond(flow)
    assert reason_of(bench) == "other_answer"


@pytest.mark.parametrize("users", ["hash", "drop"])
async def test_no_address_where_users_are_not_named(made: Make, users: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "key").chmod(0o600)
    key = '\nhash_key_file = "key"' if users == "hash" else ""
    bench = made(more=f'{NAMED}[journal]\nusers = "{users}"{key}\n')
    await run(bench, ask())
    await run(bench, ask(asked=request("bert@contoso.example")))
    text = (tmp_path / "j.jsonl").read_text("utf-8") if bench.journal else ""
    assert text
    assert "anna" not in text
    assert "bert" not in text


async def test_bodies_are_kept_where_captures_want_them(made: Make) -> None:
    bench = made(eas_bodies="keep")
    flow = await run(bench, ask())
    assert not flow.request.stream
    assert got(flow).raw_content == TOLD
