"""The hooks on flows that a test made: what is changed, kept, marked, and when nothing is."""

import asyncio
import base64
import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import exceptions, http
from mitmproxy.flow import Error
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow

from eas_redirect.addon import EASRedirect
from eas_redirect.judging.judge import Judge
from eas_redirect.proxy.flows import METADATA
from eas_redirect.telemetry.writing import flush_all
from tests.support import DATA

NO_MAILBOX = bytes.fromhex("03016A000007564C0331323300" + "0101")
LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
CONFIG = f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
EAS = "/Microsoft-Server-ActiveSync?Cmd=FolderSync&User=anna&DeviceId=D1&DeviceType=Phone"


class Bench:
    """An addon in mitmproxy's test context, with its journal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.addon = EASRedirect()
        self.context = taddons.context(self.addon)
        (directory / "eas.toml").write_text(CONFIG, "utf-8")

    def configure(self, **options: str) -> None:
        given = {
            "eas_config": str(self.directory / "eas.toml"),
            "eas_journal": str(self.directory / "j.jsonl"),
        }
        self.context.configure(self.addon, **(given | options))

    @property
    def journal(self) -> list[dict[str, dict[str, object]]]:
        assert flush_all()
        lines = (self.directory / "j.jsonl").read_text("utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        return [line for line in found if line["event"]["action"].startswith("eas.")]

    @property
    def exchanges(self) -> list[dict[str, dict[str, object]]]:
        kinds = ("eas.exchange", "eas.redirect", "eas.would_redirect")
        return [line for line in self.journal if line["event"]["action"] in kinds]

    async def run(self, flow: http.HTTPFlow) -> http.HTTPFlow:
        """The hooks of one exchange, in mitmproxy's order."""
        answer, flow.response = flow.response, None
        self.addon.requestheaders(flow)
        flow.response = answer
        self.addon.responseheaders(flow)
        await self.respond(flow)
        return flow

    async def respond(self, flow: http.HTTPFlow) -> None:
        if (rest := self.addon.response(flow)) is not None:
            await rest


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    with bench.context:
        bench.configure()
        yield bench
        bench.addon.done()


def eas_flow(user: str | None = "anna@contoso.example", target: str = EAS) -> http.HTTPFlow:
    """A device at 14.1 asking FolderSync, and Exchange's in-band UserHasNoMailbox."""
    flow = tflow.tflow(resp=True)
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://ex07.contoso.example")
    flow.request.method = "POST"
    flow.request.path = target
    flow.request.host_header = "mail.contoso.example"
    flow.request.headers["MS-ASProtocolVersion"] = "14.1"
    if user is not None:
        token = base64.b64encode(f"{user}:secret".encode()).decode()
        flow.request.headers["Authorization"] = f"Basic {token}"
    assert flow.response is not None
    flow.response.status_code = 200
    flow.response.headers = http.Headers(
        content_type="application/vnd.ms-sync.wbxml",
        date="Thu, 01 Jan 2026 00:00:00 GMT",
        set_cookie="a=b",
        content_length=str(len(NO_MAILBOX)),
    )
    flow.response.raw_content = NO_MAILBOX
    return flow


def response(flow: http.HTTPFlow) -> http.Response:
    assert flow.response is not None
    return flow.response


async def test_the_451_is_whole_and_nothing_of_the_old_answer_is_left(bench: Bench) -> None:
    answer = response(await bench.run(eas_flow()))
    assert (answer.status_code, answer.reason, answer.raw_content) == (451, "Redirect", b"")
    assert list(answer.headers.items()) == [
        ("Date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("Cache-Control", "private"),
        ("X-MS-Location", LOCATION),
        ("Content-Length", "0"),
    ]


async def test_a_closing_connection_stays_closing(bench: Bench) -> None:
    flow = eas_flow()
    response(flow).headers["Connection"] = "close"
    assert response(await bench.run(flow)).headers["Connection"] == "close"


async def test_a_redirected_flow_is_marked_and_remembers_what_exchange_said(bench: Bench) -> None:
    flow = await bench.run(eas_flow())
    assert flow.marked
    assert flow.comment == "451 → outlook.office365.com (mailbox_moved)"
    record = flow.metadata[METADATA]
    assert record == bench.exchanges[0]
    assert record["eas"]["upstream"] == {"status_code": 200, "status": 123, "duration_ms": 2000.0}


async def test_the_line_of_an_exchange_ends_what_it_caused(bench: Bench) -> None:
    await bench.run(eas_flow())
    actions = [line["event"]["action"] for line in bench.journal]
    assert actions.count("eas.ledger") == 2, "seen, then redirected"
    assert actions[-1] == "eas.redirect"


async def test_observe_mode_marks_and_changes_nothing(bench: Bench) -> None:
    bench.configure(eas_mode="observe")
    flow = eas_flow()
    before = response(flow).get_state()
    await bench.run(flow)
    assert response(flow).get_state() == before
    assert flow.comment == "would be 451 → outlook.office365.com (mailbox_moved)"


async def test_what_is_not_eas_is_streamed_and_never_journalled(bench: Bench) -> None:
    flow = eas_flow(target="/owa/auth.owa")
    before = response(flow).raw_content
    await bench.run(flow)
    assert flow.request.stream is True
    assert response(flow).stream is True
    assert response(flow).raw_content == before
    assert bench.exchanges == []
    assert METADATA not in flow.metadata


@pytest.mark.parametrize("option", ["stream", "keep"])
async def test_bodies_stream_unless_they_are_kept(bench: Bench, option: str) -> None:
    bench.configure(eas_bodies=option)
    flow = eas_flow()
    response(flow).headers["Content-Type"] = "application/vnd.ms-sync.multipart"
    await bench.run(flow)
    streamed = option == "stream"
    assert flow.request.stream is streamed
    assert response(flow).stream is streamed


async def test_an_answer_that_may_be_the_one_is_held(bench: Bench) -> None:
    for status in (200, 403):
        flow = eas_flow()
        response(flow).status_code = status
        bench.addon.requestheaders(flow)
        bench.addon.responseheaders(flow)
        assert response(flow).stream is False


async def test_an_answer_that_was_streamed_after_all_is_not_changed(bench: Bench) -> None:
    flow = eas_flow()
    response(flow).status_code = 403
    bench.addon.requestheaders(flow)
    bench.addon.responseheaders(flow)
    response(flow).stream = True
    await bench.respond(flow)
    assert response(flow).status_code == 403
    assert bench.exchanges[0]["event"]["reason"] == "other_answer"


async def test_an_ntlm_connection_remembers_who_logged_on(bench: Bench) -> None:
    first, second, other = eas_flow(None), eas_flow(None), eas_flow(None)
    second.client_conn, second.server_conn = first.client_conn, first.server_conn
    bare = "/Microsoft-Server-ActiveSync?Cmd=FolderSync&DeviceId=D1&DeviceType=Phone"
    for flow in (first, second, other):
        flow.request.path = bare
    first.request.headers["Authorization"] = "NTLM " + ntlm_type_3("CONTOSO", "anna")
    reasons = [response(await bench.run(f)).status_code for f in (first, second, other)]
    assert reasons == [451, 451, 200]
    assert bench.exchanges[2]["event"]["reason"] == "no_identity"
    bench.addon.client_disconnected(first.client_conn)
    third = eas_flow(None, bare)
    third.client_conn, third.server_conn = first.client_conn, first.server_conn
    assert response(await bench.run(third)).status_code == 200


async def test_an_exchange_without_an_answer_teaches_no_logon(bench: Bench) -> None:
    first, second = eas_flow(None), eas_flow(None)
    second.client_conn, second.server_conn = first.client_conn, first.server_conn
    first.request.headers["Authorization"] = "NTLM " + ntlm_type_3("CONTOSO", "anna")
    second.request.path = "/Microsoft-Server-ActiveSync?Cmd=FolderSync"
    bench.addon.requestheaders(first)
    first.response, first.error = None, Error("server closed connection")
    bench.addon.error(first)
    assert response(await bench.run(second)).status_code == 200


@pytest.mark.parametrize("option", ["stream", "keep"])
def test_a_tunnel_is_not_kept_in_memory_unless_bodies_are(bench: Bench, option: str) -> None:
    bench.configure(eas_bodies=option)
    flow = tflow.ttcpflow()
    bench.addon.tcp_message(flow)
    assert bool(flow.messages) is (option == "keep")


async def test_a_refused_logon_is_forgotten(bench: Bench) -> None:
    first, second = eas_flow(None), eas_flow(None)
    second.client_conn, second.server_conn = first.client_conn, first.server_conn
    first.request.headers["Authorization"] = "NTLM " + ntlm_type_3("CONTOSO", "anna")
    response(first).status_code = 401
    second.request.path = "/Microsoft-Server-ActiveSync?Cmd=FolderSync"
    await bench.run(first)
    assert response(await bench.run(second)).status_code == 200


async def test_credentials_win_over_the_query_and_the_contradiction_is_said(bench: Bench) -> None:
    flow = await bench.run(eas_flow("bert@contoso.example", EAS.replace("anna", "anna%40x.test")))
    assert response(flow).status_code == 200
    assert bench.exchanges[0]["event"]["reason"] == "recipient_has_mailbox"
    assert flow.metadata[METADATA]["eas"]["auth"]["contradiction"] is True


@pytest.mark.parametrize("names", [[], ["mail.contoso.example", "evil.example.test"]])
async def test_no_single_host_no_redirect(bench: Bench, names: list[str]) -> None:
    flow = eas_flow()
    flow.request.headers.set_all("Host", names)
    flow.request.authority = ""
    assert response(await bench.run(flow)).status_code == 200
    assert bench.exchanges[0]["event"]["reason"] == "redirect_loop"


async def test_several_credentials_name_nobody(bench: Bench) -> None:
    flow = eas_flow()
    flow.request.headers.add("Authorization", "Basic YmVydDp4")
    assert response(await bench.run(flow)).status_code == 200
    assert bench.exchanges[0]["event"]["reason"] == "no_identity"


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [("Authorization", "Basic YmVydDp4", 200), ("X-Device-Owner", "bert", 451)],
)
async def test_a_logon_that_took_the_clients_place_redirects_nobody(
    bench: Bench, name: str, value: str, status: int
) -> None:
    """Any other header that a script adds on the way to Exchange changes nothing."""
    flow = eas_flow()
    answer, flow.response = response(flow), None
    bench.addon.requestheaders(flow)
    flow.request.headers[name] = value
    flow.response = answer
    bench.addon.responseheaders(flow)
    await bench.respond(flow)
    assert response(flow).status_code == status


async def test_an_upstream_that_fails_leaves_one_line(bench: Bench) -> None:
    flow = eas_flow()
    flow.response, flow.error = None, tflow.terr()
    bench.addon.requestheaders(flow)
    bench.addon.error(flow)
    bench.addon.error(flow)
    assert len(bench.exchanges) == 1
    line = bench.exchanges[0]
    assert line["event"]["outcome"] == "failure"
    assert line["error"]["type"] == "upstream_failed"


async def test_a_fault_in_the_way_leaves_exchanges_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Judge, ask: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Judge, "_look_up", broken)
    assert response(await bench.run(eas_flow())).raw_content == NO_MAILBOX
    assert bench.exchanges[0]["event"]["reason"] == "internal_error"


@pytest.mark.parametrize(
    ("broken", "status_code"),
    [("read_body", 200), ("flows.redirect_response", 200), ("exchange_record", 451)],
)
async def test_a_fault_outside_the_decision_is_said_and_journalled(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
    status_code: int,
) -> None:
    """Before the 451 it leaves Exchange's answer; what is only written about it changes nothing."""

    def fails(*args: object) -> None:
        raise RuntimeError("hunter2-Basic-Passw0rd")

    monkeypatch.setattr(f"eas_redirect.proxy.exchanges.{broken}", fails)
    answer = response(await bench.run(eas_flow()))
    assert answer.status_code == status_code
    assert answer.raw_content == (NO_MAILBOX if status_code == 200 else b"")
    assert bench.exchanges[0]["event"]["reason"] == "internal_error"
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text + str(bench.journal)


async def test_a_fault_before_anything_is_asked_is_caught_as_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("eas_redirect.proxy.exchanges.read_body", broken)
    flow = eas_flow()
    bench.addon.requestheaders(flow)
    assert bench.addon.exchanges is not None
    assert bench.addon.exchanges.answered(flow) is None
    assert response(flow).raw_content == NO_MAILBOX
    assert [line["event"]["reason"] for line in bench.exchanges] == ["internal_error"]


async def test_a_wave_of_networks_sees_the_address_that_a_trusted_proxy_forwards(
    bench: Bench,
) -> None:
    trusting = '[exchange]\ntrusted_proxies = ["127.0.0.0/8"]\n'
    wave = '[redirect.only]\nnetworks = ["198.51.100.0/24"]\n'
    (bench.directory / "wave.toml").write_text(CONFIG + trusting + wave, "utf-8")
    bench.configure(eas_config=str(bench.directory / "wave.toml"))
    for forwarded in ("198.51.100.7", "203.0.113.7", None):
        flow = eas_flow()
        if forwarded is not None:
            flow.request.headers["X-Forwarded-For"] = forwarded
        await bench.run(flow)
    reasons = [line["event"]["reason"] for line in bench.exchanges]
    assert reasons == ["mailbox_moved", "not_in_wave", "not_in_wave"]
    forwarded_ips = [line.get("network", {}).get("forwarded_ip") for line in bench.exchanges]
    assert forwarded_ips == ["198.51.100.7", "203.0.113.7", None]


async def test_nothing_is_kept_of_an_exchange_that_ended(bench: Bench) -> None:
    for _ in range(3):
        await bench.run(eas_flow())
    assert bench.addon.exchanges is not None
    assert len(bench.addon.exchanges) == 0


def test_a_configuration_with_problems_is_an_error_and_every_problem_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "eas.toml").write_text('mode = "x"\n[directory]\nnope = 1\n', "utf-8")
    with bench.context:
        bench.configure()
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "mode" in errors[0]
    assert "directory.nope" in errors[0]
    assert bench.addon.service is None


def test_a_wrong_option_while_running_is_refused_and_the_old_one_goes_on(bench: Bench) -> None:
    with pytest.raises(exceptions.OptionsError, match="eas_mode"):
        bench.configure(eas_mode="obsrve")
    assert bench.addon.service is not None
    assert bench.addon.service.config.mode == "enforce"


async def test_a_misspelt_option_is_an_error(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.context.options.update_defer(eas_mod="observe")
    bench.addon.running()
    assert "unknown option eas_mod;" in caplog.text


async def test_an_option_given_twice_is_an_error_and_the_script_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with taddons.context() as context:
        context.options.set("eas_mode=observe", "eas_mode=enforce", "eas_metrics", defer=True)
        context.master.addons.add(addon := EASRedirect())
        assert context.master.addons.get("eas-redirect") is addon
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "eas-redirect: eas_mode takes one text, and is given observe, enforce: set it once" in (
        errors
    )


async def test_the_cache_can_be_cleared(bench: Bench) -> None:
    await bench.run(eas_flow())
    await bench.run(eas_flow())
    bench.context.master.commands.execute("eas.cache.clear")
    await bench.run(eas_flow())
    found = [line["eas"]["directory"] for line in bench.exchanges]
    assert [f["cache"] for f in found if isinstance(f, dict)] == ["miss", "hit", "miss"]


def ntlm_type_3(domain: str, user: str) -> str:
    """MS-NLMP 2.2.1.3 with the two names only."""
    names = [domain.encode("utf-16-le"), user.encode("utf-16-le")]
    fields, at = [], 64
    for name in names:
        fields.append(struct.pack("<HHI", len(name), len(name), at))
        at += len(name)
    empty = struct.pack("<HHI", 0, 0, 64)
    head = b"NTLMSSP\0" + struct.pack("<I", 3) + empty * 2 + fields[0] + fields[1] + empty * 2
    return base64.b64encode(head + struct.pack("<I", 1) + b"".join(names)).decode()


def test_the_profile_stands_before_mitmproxy_listens(bench: Bench) -> None:
    """`running` comes after the first connections can."""
    options = bench.context.options
    assert (options.tcp_timeout, options.http2, options.websocket) == (4200, False, False)


async def test_a_head_that_a_script_has_changed_is_read_again(bench: Bench) -> None:
    for change in ("status", "type"):
        flow = eas_flow()
        answer, flow.response = flow.response, None
        assert answer is not None
        kind = answer.headers["Content-Type"]
        bench.addon.requestheaders(flow)
        flow.response = answer
        if change == "status":
            answer.status_code = 500
        else:
            answer.headers["Content-Type"] = "text/plain"
        bench.addon.responseheaders(flow)
        answer.status_code, answer.headers["Content-Type"] = 200, kind
        answer.stream = False
        await bench.respond(flow)
        assert flow.response.status_code == 451, change
