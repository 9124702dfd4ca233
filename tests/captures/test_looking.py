"""Flows of a capture in a running addon: judged for the eye, and nothing else happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http, tcp
from mitmproxy.test import tflow

from eas_redirect.captures.looking import verdict_of_today
from eas_redirect.proxy.flows import METADATA
from eas_redirect.telemetry.record import Record
from eas_redirect.view.summary import summary_lines
from tests.activesync.vectors import VECTORS
from tests.captures.captures import eas_flow as captured_flow
from tests.captures.test_capture_autodiscover import question
from tests.test_addon import Bench, eas_flow, response

MOVED = "today: 451 → outlook.office365.com (mailbox_moved)"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    with bench.context:
        bench.configure()
        yield bench
        bench.addon.done()


def loaded(flow: http.HTTPFlow) -> http.HTTPFlow:
    """As mitmproxy loads it from a file."""
    again = mitmproxy_flow.Flow.from_state(flow.get_state())
    assert isinstance(again, http.HTTPFlow)
    assert again.live is False
    return again


async def test_a_captured_answer_stays_and_nothing_is_journalled(bench: Bench) -> None:
    flow = loaded(eas_flow())
    before = flow.get_state()
    assert bench.addon.service is not None
    told: list[Record] = []
    bench.addon.service.sinks.append(told.append)  # as the metrics and the status page are
    await bench.run(flow)
    assert flow.comment == MOVED
    assert flow.get_state() == {**before, "comment": MOVED}
    assert bench.exchanges == []
    assert not any(bench.addon.service.ledger.statistics().states.values())
    assert [r for r in told if r.action != "eas.directory"] == []


async def test_the_view_tells_the_decision_of_then_and_the_verdict_of_today(bench: Bench) -> None:
    flow = loaded(await bench.run(eas_flow()))
    comment, answer = flow.comment, response(flow).get_state()
    bench.configure(eas_mode="observe")
    written = len(bench.journal)
    would = "would be 451 → outlook.office365.com (mailbox_moved)"
    await bench.run(flow)
    assert len(bench.journal) == written
    assert response(flow).get_state() == answer
    assert flow.comment == f"{comment} · today: {would}"
    lines = summary_lines(flow, is_answer=True)
    at = lines.index("decision: redirect (mailbox_moved)")
    way = (
        "  domain contoso.mail.onmicrosoft.example, relationship Cloud, "
        "location https://outlook.office365.com/Microsoft-Server-ActiveSync"
    )
    assert lines[at + 1] == way
    assert lines[at + 2] == "Exchange answered 200, status 123"
    assert lines[at + 3 : at + 5] == [f"today's configuration: {would}", way]


async def test_a_second_look_replaces_the_first(bench: Bench) -> None:
    flow = loaded(eas_flow())
    flow.comment = "Anna, Monday"
    for mode in ("observe", "enforce"):
        bench.configure(eas_mode=mode)
        await bench.run(flow)
    assert flow.comment == f"Anna, Monday · {MOVED}"


@pytest.mark.parametrize("option", ["save_stream_file", "hardump"])
async def test_what_is_written_to_a_file_is_what_was_captured(bench: Bench, option: str) -> None:
    bench.context.options.add_option(option, str, "", "")
    bench.context.options.update(**{option: "kept.flows"})
    flow = loaded(eas_flow())
    before = flow.get_state()
    await bench.run(flow)
    assert flow.get_state() == before
    today = verdict_of_today(flow)
    assert today is not None
    assert (today.decision, today.target_domain) == ("redirect", "contoso.mail.onmicrosoft.example")


async def test_a_capture_teaches_nothing_about_live_flows(bench: Bench) -> None:
    """Neither who logged on by a connection, nor that a server asks for a logon."""
    told = captured_flow(0, body=VECTORS["FolderSync"])
    asked = captured_flow(1, user=None, code=401)
    live = eas_flow(None, "/Microsoft-Server-ActiveSync?Cmd=FolderSync&DeviceId=D1")
    live.client_conn, live.server_conn = told.client_conn, told.server_conn
    for flow in (told, asked):
        await bench.run(flow)
    assert response(await bench.run(live)).status_code == 200
    assert bench.addon.exchanges is not None
    assert not bench.addon.exchanges.challenges.known("exchange.contoso.example:443")


async def test_a_server_that_is_not_named_has_no_verdict(bench: Bench) -> None:
    flow = captured_flow(0, body=VECTORS["FolderSync"])
    await bench.run(flow)
    assert flow.comment == "today: no verdict (server_not_named)"


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"eas": 1},
        {"eas": {"upstream": [], "evidence": {}}},
        {"eas": {"upstream": {"status": "x"}}},
    ],
)
async def test_a_capture_s_record_may_hold_anything(
    bench: Bench, stored: dict[str, object]
) -> None:
    flow = loaded(eas_flow())
    flow.metadata[METADATA] = stored
    await bench.run(flow)
    assert flow.comment == MOVED  # by the answer itself


async def test_a_damaged_flow_stays_as_it_is(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    flow = loaded(eas_flow())
    flow.request.timestamp_start = -1.0
    before = flow.get_state()
    await bench.run(flow)
    assert flow.get_state() == before
    assert "a flow of the capture is damaged (ValueError)" in caplog.text


async def test_what_is_no_activesync_is_left_alone(bench: Bench) -> None:
    flow, tunnel = loaded(eas_flow(target="/owa/")), tflow.ttcpflow()
    before = flow.get_state()
    await bench.run(flow)
    assert flow.get_state() == before
    assert flow.request.stream is response(flow).stream is False
    again = mitmproxy_flow.Flow.from_state(tunnel.get_state())
    assert isinstance(again, tcp.TCPFlow)
    bench.addon.tcp_message(again)
    assert again.get_state() == tunnel.get_state()


async def test_a_replayed_capture_is_asked_anew(bench: Bench) -> None:
    flow = loaded(await bench.run(eas_flow()))
    fresh = eas_flow()
    flow.response, flow.live, flow.is_replay = fresh.response, True, "request"
    assert response(await bench.run(flow)).status_code == 451
    assert len(bench.exchanges) == 2


async def test_a_question_to_autodiscover_is_looked_at_too(bench: Bench) -> None:
    told = "today: Settings → outlook.office365.com (mailbox_moved)"
    flow = loaded(question())
    await bench.run(flow)
    assert flow.comment == "", "autodiscover.phones is off"
    path = bench.directory / "eas.toml"
    path.write_text(
        path.read_text("utf-8")
        + '[exchange]\nhost_names = ["mail.contoso.example"]\n[autodiscover]\nphones = "all"\n'
    )
    bench.configure(eas_mode="enforce")
    before = flow.get_state()
    await bench.run(flow)
    assert flow.get_state() == {**before, "comment": told}
    assert bench.exchanges == []
    assert f"today's configuration: {told.removeprefix('today: ')}" in summary_lines(
        flow, is_answer=True
    )
