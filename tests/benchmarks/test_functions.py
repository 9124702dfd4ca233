"""What single steps cost. `make bench` reads the medians; nothing here asserts a time."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow
from pytest_benchmark.fixture import BenchmarkFixture

from eas_redirect.activesync.request import read_request
from eas_redirect.activesync.wbxml import parse
from eas_redirect.addon import EASRedirect
from eas_redirect.directory.snapshot import Snapshot
from tests.activesync.vectors import VECTORS
from tests.benchmarks.subjects import CONFIG, EAS, NO_MAILBOX, OK
from tests.integration.device import PATH, basic
from tests.support import DATA

ROUNDS, WARMUP = 2000, 200
QUERY = "?Cmd=FolderSync&User={}&DeviceId=D1&DeviceType=Android"


class Hooks:
    """The addon's hooks, called as mitmproxy does for one exchange."""

    def __init__(self, addon: EASRedirect, loop: asyncio.AbstractEventLoop) -> None:
        self.addon = addon
        self.loop = loop

    def exchange(self, flow: http.HTTPFlow, response: http.Response) -> None:
        self.loop.run_until_complete(self._exchange(flow, response))

    async def _exchange(self, flow: http.HTTPFlow, response: http.Response) -> None:
        self.addon.requestheaders(flow)
        flow.response = response
        self.addon.responseheaders(flow)
        if (rest := self.addon.response(flow)) is not None:
            await rest


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[Hooks]:
    loop = asyncio.new_event_loop()
    config = tmp_path / "eas-redirect.toml"
    config.write_text(CONFIG, "utf-8")
    addon = EASRedirect()
    with taddons.context(addon, loadcore=True) as context:
        context.configure(addon, eas_config=str(config), eas_journal=str(tmp_path / "j.jsonl"))
        yield Hooks(addon, loop)
        addon.done()
    loop.close()


def made(user: str, body: bytes, target: str | None = None) -> tuple[http.HTTPFlow, http.Response]:
    headers: dict[str | bytes, str | bytes] = {
        "Host": "mail.contoso.example",
        "User-Agent": "Android/12.0.0-EAS-2.0",
        "Authorization": basic(f"{user}@contoso.example"),
        "MS-ASProtocolVersion": "14.1",
        "X-MS-PolicyKey": "3141592653",
        "Content-Type": EAS,
        "Content-Length": "0",
    }
    flow = tflow.tflow(req=http.Request.make("POST", "http://mail.contoso.example/", b"", headers))
    flow.request.path = target or PATH + QUERY.format(user)
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://ex07.contoso.example")
    flow.live = True
    return flow, http.Response.make(200, body, {"Content-Type": EAS, "Server": "IIS"})


def run(
    benchmark: BenchmarkFixture, hooks: Hooks, user: str, body: bytes, target: str = ""
) -> None:
    def setup() -> tuple[tuple[http.HTTPFlow, http.Response], dict[str, object]]:
        return made(user, body, target or None), {}

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        hooks.exchange, setup=setup, rounds=ROUNDS, warmup_rounds=WARMUP
    )


def test_an_ordinary_exchange(benchmark: BenchmarkFixture, hooks: Hooks) -> None:
    run(benchmark, hooks, "bert", OK)
    assert made("bert", OK)[0].marked == ""


def test_a_redirect(benchmark: BenchmarkFixture, hooks: Hooks) -> None:
    run(benchmark, hooks, "anna", NO_MAILBOX)
    flow, response = made("anna", NO_MAILBOX)
    hooks.exchange(flow, response)
    assert flow.response is not None
    assert flow.response.status_code == 451


def test_an_exchange_that_is_not_eas(benchmark: BenchmarkFixture, hooks: Hooks) -> None:
    run(benchmark, hooks, "bert", b"<html></html>", "/owa/")


def test_wbxml_15_bytes(benchmark: BenchmarkFixture) -> None:
    assert len(VECTORS["FolderSync"]) == 15
    document = benchmark(parse, VECTORS["FolderSync"])
    assert document.root.name == "FolderSync"


def test_wbxml_64_kib(benchmark: BenchmarkFixture) -> None:
    """A Sync with many small items, tags and texts in turn."""
    item = bytes.fromhex("47 4d 03 313a32 00 01 5d 0002 54 03 4c756e6368 00 01 0000 01 01")
    items = item * (64 * 1024 // len(item))
    data = b"\x03\x01\x6a\x00" + b"\x45\x5c\x4f" + items + b"\x01\x01\x01"
    document = benchmark(parse, data)
    assert len(data) > 65_000
    assert document.root.name == "Sync"


def test_a_base64_query(benchmark: BenchmarkFixture) -> None:
    target = PATH + "?jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l"
    assert benchmark(read_request, "POST", target, ()).device_id == "v140Device"


def test_a_plain_query(benchmark: BenchmarkFixture) -> None:
    target = PATH + QUERY.format("CONTOSO%5Canna")
    assert benchmark(read_request, "POST", target, ()).user == "CONTOSO\\anna"


def test_a_snapshot(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(Snapshot.load, DATA / "migration.ldif")) > 5
