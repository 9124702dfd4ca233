"""Other scripts and mitmproxy's own addons in the same process: each keeps what it does alone."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.integration.device import LOCATION, ask
from tests.integration.mitmdump import SHIM, Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Wire, connected, framing
from tests.integration.running import run, wait_until
from tests.integration.upstream import Scripted, upstream
from tests.support import DATA

pytestmark = pytest.mark.integration

NO_MAILBOX = bytes.fromhex("03016A00000756" + "4C0331323300" + "0101")
WBXML = {"Content-Type": "application/vnd.ms-sync.wbxml"}
CONFIG = f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOSTILE = {
    "attribute": """\
class Last:
    def requestheaders(self, flow):
        self.request = flow.request
addons = [Last()]
""",
    "global": """\
response = {"seen": 0}
def requestheaders(flow):
    response["seen"] += 1
""",
    "text": 'responseheaders = "Server"\nrequest = 7\n',
    "callable": "from collections import Counter as requestheaders, OrderedDict as response\n",
    "property": """\
class Late:
    seen = False
    def requestheaders(self, flow):
        self.seen = True
    @property
    def response(self):
        if self.seen:
            raise KeyError("response")
addons = [Late()]
""",
    "raises": """\
def requestheaders(flow):
    raise ValueError("requestheaders")
async def request(flow):
    raise ValueError("request")
def responseheaders(flow):
    raise ValueError("responseheaders")
async def response(flow):
    raise ValueError("response")
""",
}

type Way = Literal["mitmdump", "run"]


@contextmanager
def proxy(
    way: Way,
    home: Path,
    url: str,
    scripts: Sequence[Path] = (),
    options: Mapping[str, str] | None = None,
    *,
    first: bool = False,
) -> Iterator[tuple[int, Path]]:
    """Its port and its log. `first`: the scripts come before ours (mitmdump only)."""
    words = [word for script in scripts for word in ("-s", str(script))]
    if way == "run":
        further = [w for n, v in (options or {}).items() for w in ("--set", f"{n}={v}")]
        with run(home, url, "--", *words, *further, config="[cache]\nfound_s = 1\n") as running:
            yield running.port, home / "log"
        return
    with starting(home, url, words, options or {}, first=first) as running:
        yield running.port, home / "mitmdump.log"


@contextmanager
def starting(
    home: Path, url: str, words: Sequence[str], options: Mapping[str, str], *, first: bool
) -> Iterator[Mitmdump]:
    if not first:
        with mitmdump(
            home, f"reverse:{url}", config=CONFIG, options=options, arguments=words
        ) as running:
            yield running
        return
    home.mkdir(parents=True, exist_ok=True)
    (home / "eas.toml").write_text(CONFIG, "utf-8")
    given = {"eas_config": str(home / "eas.toml"), "eas_journal": str(home / "journal.jsonl")}
    with mitmdump(
        home, f"reverse:{url}", addon=False, options=given | dict(options),
        arguments=(*words, "-s", str(SHIM)),
    ) as running:  # fmt: skip
        yield running


def script(home: Path, text: str, name: str = "second") -> Path:
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{name}.py"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("way", ["mitmdump", "mitmdump, ours last", "run"])
def test_scripts_whose_names_are_hooks_harm_nobody(way: str, tmp_path: Path) -> None:
    """All of them at once: before ours, or behind it."""
    answers = {"moved": Scripted(200, WBXML, NO_MAILBOX), "other": Scripted(200, body=b"fine")}
    scripts = [script(tmp_path, text, kind) for kind, text in HOSTILE.items()]
    with (
        upstream(answers) as exchange,
        proxy(
            *("run" if way == "run" else "mitmdump", tmp_path / "proxy"),
            *(f"http://127.0.0.1:{exchange.port}", scripts),
            first=way.endswith("last"),
        ) as (port, log),
    ):
        for _ in range(3):
            moved = ask(port, "anna@contoso.example", "moved")
            assert (moved.status, moved.header("x-ms-location")) == (451, LOCATION)
            other = ask(port, "bert@contoso.example", "other")
            assert (other.status, other.body) == (200, b"fine")
        failed = "Addon error: responseheaders"  # each time, for it is called
        wait_until(lambda: log.read_text("utf-8", "replace").count(failed) >= 6, "the whole log")
        said = log.read_text("utf-8", "replace")
    assert "crashed" not in said
    assert "/eas_redirect/" not in said.partition("Addon error")[2], "no frame of ours"
    assert said.count("Addon error: Addon handler") == 4, "attribute 1, global 1, text 2"


ANSWERS_EARLY = """\
from mitmproxy import http
def requestheaders(flow):
    if flow.request.path.startswith(("/ecp", "/Microsoft-Server-ActiveSync?block")):
        flow.response = http.Response.make(403, b"not from here")
"""
ANSWERS_LATE = ANSWERS_EARLY.replace("requestheaders", "request")
CHANGES = """\
def request(flow):
    if flow.request.content:
        flow.request.content = flow.request.content.replace(b"before", b"after!")
def response(flow):
    if flow.response.content:
        flow.response.content = b"seen: " + flow.response.content
"""


def post(path: str, body: bytes, *, chunked: bool = False, method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: mail.contoso.example\r\n"
    if chunked:
        return (
            head.encode()
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + (b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        )
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def recording(requests: list[bytes]) -> RawServer:
    def answer(wire: Wire) -> None:
        while True:
            head = wire.read_head()
            body = wire.read_body(head) if framing(head) else b""
            if b"User-Agent: eas-redirect/" not in head:  # the proxy's own question
                requests.append(head + body)
            wire.send(OK)

    return RawServer(answer)


EARLY_ANSWERS = {
    "small": post("/ecp/x", b"a" * 10),
    "large": post("/ecp/x", b"a" * 300_000),
    "chunked": post("/ecp/x", b"a" * 10, chunked=True),
    "large, chunked": post("/ecp/x", b"a" * 300_000, chunked=True),
    "ActiveSync": post("/Microsoft-Server-ActiveSync?block", b"a" * 10),
    "ActiveSync, large": post("/Microsoft-Server-ActiveSync?block", b"a" * 300_000),
}


@pytest.mark.parametrize("way", ["mitmdump", "mitmdump, ours last", "run"])
def test_an_answer_to_the_headers_is_given(way: str, tmp_path: Path) -> None:
    requests: list[bytes] = []
    second = script(tmp_path, ANSWERS_EARLY)
    name: Way = "run" if way == "run" else "mitmdump"
    with (
        recording(requests) as server,
        proxy(
            name, tmp_path / "p", f"http://127.0.0.1:{server.port}", [second],
            first=way.endswith("last"),
        ) as (port, log),
    ):  # fmt: skip
        for kind, request in EARLY_ANSWERS.items():
            with connected(port) as client:
                client.stream(request)
                assert client.read_answer().endswith(b"not from here"), kind
                client.send(post("/owa/", b"abc"))
                assert client.read_answer().endswith(b"ok"), kind
        assert len(requests) == len(EARLY_ANSWERS)
        assert "crashed" not in log.read_text("utf-8", "replace")


BUILT_IN: dict[str, tuple[dict[str, str], bytes]] = {
    "block_list": ({"block_list": ":~u /ecp:403"}, b"HTTP/1.1 403 "),
    "map_local": ({"map_local": "|/ecp|{home}/mapped"}, b"HTTP/1.1 200 "),
    "map_remote": ({"map_remote": "|http://[^/]+/ecp/|{url}/mapped/"}, b"HTTP/1.1 200 "),
    "modify_body": ({"modify_body": "/~q/before/after!"}, b"HTTP/1.1 200 "),
    "modify_headers": ({"modify_headers": "/~q/X-Mapped/yes"}, b"HTTP/1.1 200 "),
    "proxyauth": ({"proxyauth": "a:b"}, b"HTTP/1.1 401 "),
}


@pytest.mark.parametrize("way", ["mitmdump", "run"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_mitmproxys_own_addons_do_what_they_do(name: str, way: Way, tmp_path: Path) -> None:
    requests: list[bytes] = []
    (tmp_path / "mapped").mkdir()
    (tmp_path / "mapped" / "x").write_text("mapped", "utf-8")
    options, status = BUILT_IN[name]
    with recording(requests) as server:
        url = f"http://127.0.0.1:{server.port}"
        options = {n: v.format(home=tmp_path, url=url) for n, v in options.items()}
        with proxy(way, tmp_path / "p", url, (), options) as (port, log), connected(port) as client:
            client.send(post("/ecp/x", b"before"))
            assert client.read_answer().startswith(status)
            assert "crashed" not in log.read_text("utf-8", "replace")
    seen = b"".join(requests)
    assert {
        "block_list": seen == b"",
        "map_local": seen == b"",
        "map_remote": seen.startswith(b"POST /mapped/x "),
        "modify_body": seen.endswith(b"after!"),
        "modify_headers": b"X-Mapped: yes" in seen,
        "proxyauth": seen == b"",
    }[name]


@pytest.mark.parametrize("way", ["mitmdump", "run"])
def test_a_script_sees_bodies_that_are_short_and_say_so(way: Way, tmp_path: Path) -> None:
    requests: list[bytes] = []
    second = script(tmp_path, CHANGES)
    longer = b"before" * 20_000
    with (
        recording(requests) as server,
        proxy(way, tmp_path / "p", f"http://127.0.0.1:{server.port}", [second]) as (port, log),
        connected(port) as client,
    ):
        for sent in (
            post("/owa/", b"before"),
            post("/Microsoft-Server-ActiveSync?Cmd=Sync", b"before"),
            post("/owa/", longer),
            post("/owa/", b"before", chunked=True),
            post("/rpc/rpcproxy.dll", b"before", method="RPC_IN_DATA"),
            post("/mapi/emsmdb/", b"before"),
        ):
            client.stream(sent)
            client.read_answer()
        said = log.read_text("utf-8", "replace")
    bodies = [request.partition(b"\r\n\r\n")[2] for request in requests]
    assert bodies[:2] == [b"after!"] * 2
    assert bodies[2] == longer
    assert b"before" in bodies[3]
    assert bodies[4:] == [b"before"] * 2
    assert f"{second} has to see whole messages" in said
    assert "Longer and chunked bodies" in said


@pytest.mark.parametrize("way", ["mitmdump", "run"])
def test_a_script_that_answers_is_not_exchange(way: Way, tmp_path: Path) -> None:
    """A 403 of a script's is no evidence: nobody is redirected by it."""
    text = ANSWERS_LATE.replace("block", "")
    answers = {"moved": Scripted(403)}
    with (
        upstream(answers) as exchange,
        proxy(
            way, tmp_path / "p", f"http://127.0.0.1:{exchange.port}", [script(tmp_path, text)]
        ) as (port, _),
    ):
        assert ask(port, "CONTOSO\\anna", "moved").status == 403
    assert '"mailbox_moved"' not in (tmp_path / "p" / "journal.jsonl").read_text("utf-8")


@pytest.mark.parametrize("way", ["mitmdump", "run"])
def test_a_recorded_answer_counts_as_exchanges(way: Way, tmp_path: Path) -> None:
    """mitmproxy's server_replay: what Exchange said once is judged again, and Exchange not asked.
    What was not recorded is none of Exchange's answers."""
    capture = tmp_path / "capture.mitm"
    answers = {"moved": Scripted(200, WBXML, NO_MAILBOX), "other": Scripted(200, body=b"fine")}
    with upstream(answers) as exchange:
        url = f"http://127.0.0.1:{exchange.port}"
        options = {"save_stream_file": str(capture), "eas_bodies": "keep", "eas_mode": "observe"}
        with proxy("mitmdump", tmp_path / "first", url, (), options) as (port, _):
            assert ask(port, "anna@contoso.example", "moved").body == NO_MAILBOX
            assert ask(port, "bert@contoso.example", "other").body == b"fine"
        exchange.asked.clear()
        options = {"server_replay": str(capture), "server_replay_extra": "404"}
        options["server_replay_reuse"] = "true"  # without it mitmproxy asks, once all are replayed
        with proxy(way, tmp_path / "again", url, (), options) as (port, log):
            moved = ask(port, "anna@contoso.example", "moved")
            assert (moved.status, moved.header("x-ms-location")) == (451, LOCATION)
            assert ask(port, "bert@contoso.example", "other").body == b"fine"
            assert ask(port, "anna@contoso.example", "unknown", command="Sync").status == 404
            said = log.read_text("utf-8", "replace")
        assert exchange.asked == [], "Exchange was not asked"
    assert "server_replay is set: recorded answers would be given in Exchange's place" in said
    assert "crashed" not in said
    journal = (tmp_path / "again" / "journal.jsonl").read_text("utf-8")
    assert journal.count('"mailbox_moved"') == 1


PIPELINED = 20_000
ANSWERS_ALL = """\
from mitmproxy import http
def requestheaders(flow):
    if flow.request.path == "/local":
        flow.response = http.Response.make(204)
"""


@pytest.mark.parametrize("way", ["mitmdump", "run"])
def test_one_client_does_not_hold_up_another(way: Way, tmp_path: Path) -> None:
    request = b"GET /local HTTP/1.1\r\nHost: a\r\n\r\n"
    waits: list[float] = []
    with (
        recording([]) as server,
        proxy(
            way, tmp_path / "p", f"http://127.0.0.1:{server.port}", [script(tmp_path, ANSWERS_ALL)]
        ) as (port, _),
        connected(port) as greedy,
        connected(port) as other,
    ):
        other.send(post("/owa/", b"x"))
        other.read_answer()
        reading = threading.Thread(target=read_all, args=(greedy, PIPELINED))
        reading.start()
        threading.Thread(target=greedy.stream, args=(request * PIPELINED,)).start()
        while reading.is_alive():
            began = time.monotonic()
            other.send(post("/owa/", b"x"))
            other.read_answer()
            waits.append(time.monotonic() - began)
    assert len(waits) > 10, "they went on at the same time"
    assert max(waits) < 0.5


def read_all(wire: Wire, count: int) -> None:
    for _ in range(count):
        wire.read_answer(bodiless=True)


@pytest.mark.parametrize("hook", ["requestheaders", "request"])
def test_an_answer_to_another_logon_is_not_about_the_client_s(tmp_path: Path, hook: str) -> None:
    """Exchange speaks of the account that it saw."""
    script = tmp_path / "swap.py"
    script.write_text(
        f"def {hook}(flow):\n    flow.request.headers['Authorization'] = 'Basic YmVydDp4'\n"
    )
    moved = {"moved": Scripted(200, {"Content-Type": "application/vnd.ms-sync.wbxml"}, NO_MAILBOX)}
    with (
        upstream(moved) as exchange,
        run(
            tmp_path / "run", f"http://127.0.0.1:{exchange.port}", "--", "-s", str(script)
        ) as running,
    ):
        assert ask(running.port, "anna@contoso.example", "moved").status == 200
