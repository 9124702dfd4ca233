"""What the console can ask of a running addon."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy.addons import view
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from eas_redirect.addon import EASRedirect
from eas_redirect.view.commands import ConsoleCommands
from tests.activesync.vectors import VECTORS
from tests.captures.captures import PASSWORD, eas_flow
from tests.captures.test_capture_autodiscover import question
from tests.test_addon import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    with made.context:
        made.configure()
        yield made
        made.addon.done()


async def execute(bench: Bench, line: str) -> None:
    bench.context.master.commands.execute(line)
    [commands] = bench.addon.addons
    async with asyncio.timeout(20):
        await asyncio.gather(*commands._tasks)


async def test_lookup_shows_the_steps(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await execute(bench, "eas.lookup anna@contoso.example")
    assert "✓ Who is it? One recipient: CN=Anna Moved" in caplog.text
    assert "(mailbox_moved)" in caplog.text


async def test_lookup_of_what_is_no_logon(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await execute(bench, "eas.lookup @")
    assert "This is no logon." in caplog.text


async def test_reload_reads_everything_again(bench: Bench) -> None:
    text = (bench.directory / "eas.toml").read_text()
    (bench.directory / "eas.toml").write_text(text.replace("enforce", "observe"))
    await execute(bench, "eas.reload")
    assert bench.addon.service is not None
    assert bench.addon.service.config.mode == "observe"
    assert bench.journal[-1]["event"]["action"] == "eas.config"


def test_before_the_start_there_is_nothing_to_do() -> None:
    commands = ConsoleCommands(EASRedirect())
    commands.cache_clear()
    commands.reload()
    commands.lookup("anna")
    assert not commands._tasks


async def test_explain_says_why_flows_were_redirected_or_passed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    flows = [
        eas_flow(0, body=VECTORS["FolderSync"]),
        eas_flow(1, code=None),
        eas_flow(2, user=None, body=b""),
        tflow.ttcpflow(),
    ]
    for flow in flows:
        flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://ex07.contoso.example")
    [commands] = bench.addon.addons
    commands.explain(flows)
    async with asyncio.timeout(20):
        await asyncio.gather(*commands._tasks)
    assert "POST FolderSync, version 14.1, user CONTOSO\\anna" in caplog.text
    assert "answer 200 (OK), status 123 (UserHasNoMailbox), evidence certain" in caplog.text
    assert "(mailbox_moved)" in caplog.text
    assert "no answer: server closed connection" in caplog.text
    assert "(other_answer)" in caplog.text
    assert "no ActiveSync" in caplog.text
    assert PASSWORD not in caplog.text


async def test_explain_gives_no_verdict_on_the_server_of_somebody_else(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    [commands] = bench.addon.addons
    commands.explain([eas_flow(0, body=VECTORS["FolderSync"])])  # a regular proxy's
    async with asyncio.timeout(20):
        await asyncio.gather(*commands._tasks)
    assert "evidence certain" in caplog.text
    assert "no verdict: exchange.host_names and proxy.upstream do not name" in caplog.text
    assert "mailbox_moved" not in caplog.text


async def test_explain_takes_the_marked_flows_of_the_console(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    marked, other = eas_flow(0, body=VECTORS["FolderSync"]), eas_flow(1, "Ping", device="OTHER")
    marked.marked = ":arrow_right:"
    flows = view.View()
    bench.context.master.addons.add(flows)
    flows.add([marked, other])
    await execute(bench, "eas.explain @marked")
    assert "POST FolderSync" in caplog.text
    assert "OTHER" not in caplog.text


async def test_diff_says_in_what_two_flows_differ(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    [commands] = bench.addon.addons
    one, other = eas_flow(0, body=VECTORS["FolderSync"]), eas_flow(1, device="OTHER", body=b"")
    commands.diff([one, other])
    assert "-  <Status>123</Status><!-- UserHasNoMailbox -->" in caplog.text
    assert "+<!-- device OTHER (iPhone), policy key present, plain query -->" in caplog.text
    commands.diff([one, one])
    assert "the two flows say the same" in caplog.text
    commands.diff([one])
    assert "eas.diff compares two flows, and 1 were named" in caplog.text


async def test_explain_shows_what_a_phone_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chosen = view.View()
    bench.context.master.addons.add(chosen)
    chosen.add([question(), question(user="bert@contoso.example", at=5)])
    await execute(bench, "eas.explain @all")
    assert "→ passes: autodiscover.phones is off" in caplog.text
    path = bench.directory / "eas.toml"
    path.write_text(
        path.read_text("utf-8")
        + '[exchange]\nhost_names = ["mail.contoso.example"]\n[autodiscover]\nphones = "all"\n'
    )
    await execute(bench, "eas.reload")
    await execute(bench, "eas.explain @all")
    location = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
    assert f"→ Settings of {location} (mailbox_moved)" in caplog.text
    assert "another address: anna@contoso.mail.onmicrosoft.example" in caplog.text
    assert "(autodiscover_identity_mismatch)" in caplog.text
