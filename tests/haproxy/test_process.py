"""`eas-redirect judge` as a process: its configuration changes, it says whether it is ready, it
stops with questions under way, and what it cannot start with is one message."""

import contextlib
import json
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from eas_redirect.haproxy.question import Question, written_question
from tests.cli.running import run as in_process
from tests.haproxy.carrying import PROGRAM, Carried, prepared, socket_of
from tests.integration.messages import CONFIG, FOLDER_SYNC, NO_MAILBOX, at
from tests.integration.processes import free_port
from tests.integration.rawserver import CHALLENGE, RawServer, Wire
from tests.integration.running import wait_until
from tests.service.test_watching_reload import write

pytestmark = pytest.mark.integration

HEAD, _, BODY = NO_MAILBOX.partition(b"\r\n\r\n")
TYPE = b"application/vnd.ms-sync.wbxml"
ANNA = b"Basic YW5uYUBjb250b3NvLmV4YW1wbGU6eA=="
ASKS = written_question(
    Question(
        {
            "method": b"POST",
            "target": FOLDER_SYNC,
            "host": b"mail.contoso.example",
            "hosts": b"1",
            "authorization": ANNA,
            "authorizations": b"1",
            "version1": b"14.1",
            "versions": b"1",
            "src": b"192.0.2.7",
            "status": b"200",
            "answer": BODY,
        },
        (("content-type", TYPE), ("content-length", b"%d" % len(BODY))),
    )
)


def challenging(wire: Wire) -> None:
    """An Exchange that wants a logon, as the judge's own question finds it."""
    while True:
        wire.read_request()
        wire.send(CHALLENGE)


@pytest.fixture
def exchange() -> Iterator[RawServer]:
    with RawServer(challenging) as server:
        yield server


@pytest.fixture
def judge(exchange: RawServer, tmp_path: Path) -> Iterator[Carried]:
    found = prepared(tmp_path, f"http://127.0.0.1:{exchange.port}", CONFIG)
    found.start_judge()
    yield found
    found.stop()


def connected(found: Carried) -> socket.socket:
    asking = socket.socket(socket.AF_UNIX)
    asking.settimeout(20)
    asking.connect(str(socket_of(found.directory)))
    return asking


def word(asking: socket.socket) -> str:
    """The judge's word and reason; empty where it gives none."""
    with contextlib.suppress(ConnectionError):
        return asking.makefile("rb").read().partition(b"\n")[2].partition(b"\n")[0].decode()
    return ""


def asked(found: Carried) -> str:
    with connected(found) as asking:
        asking.sendall(ASKS)
        return word(asking)


def readings(found: Carried, count: int) -> list[dict[str, object]]:
    def seen() -> list[dict[str, object]]:
        return [line for line in found.journal if at(line, "event.action") == "eas.config"]

    wait_until(lambda: len(seen()) >= count, f"reading {count} of the configuration")
    return seen()


def page(found: Carried, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{found.pages}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_changed_configuration_is_taken_a_bad_one_is_not_and_a_brake_holds(
    judge: Carried,
) -> None:
    file = judge.directory / "eas-redirect.toml"
    good = file.read_text("utf-8")
    assert asked(judge) == "redirect mailbox_moved"

    write(file, good.replace('"enforce"', '"observe"'))
    assert at(readings(judge, 1)[0], "event.outcome") == "success"
    assert asked(judge) == "pass mailbox_moved"

    write(file, good.replace('"enforce"', '"enforced"'))
    refused = readings(judge, 2)[1]
    assert at(refused, "event.outcome") == "failure"
    assert "mode: must be" in str(at(refused, "error.message"))
    assert asked(judge) == "pass mailbox_moved", "the last good one goes on"

    write(file, good + '[redirect.except]\nusers = ["anna@contoso.example"]\n')
    assert at(readings(judge, 3)[2], "event.outcome") == "success"
    assert asked(judge) == "pass not_in_wave"


def test_ready_metrics_and_the_page_are_those_of_run(exchange: RawServer, judge: Carried) -> None:
    wait_until(lambda: page(judge, "/ready")[0] == 200, "it is ready")
    asked(judge)
    with connected(judge) as asking:
        asking.sendall(b"EAS9 5\nhello")
        assert word(asking) == ""
    metrics = page(judge, "/metrics")[1]
    decided = 'eas_decisions_total{decision="redirect",mode="enforce",reason="mailbox_moved"} 1.0'
    assert decided in metrics
    assert "eas_judge_questions_refused_total 1.0" in metrics
    assert page(judge, "/")[0] == 200
    assert page(judge, "/health")[0] == 200


def test_exchange_that_is_away_makes_it_unready(tmp_path: Path) -> None:
    found = prepared(tmp_path, f"http://127.0.0.1:{free_port()}", CONFIG)
    try:
        found.start_judge()
        wait_until(lambda: page(found, "/ready")[0] == 503, "it is not ready")
        assert "upstream" in page(found, "/ready")[1]
        assert asked(found) == "redirect mailbox_moved", "who asks is answered all the same"
    finally:
        found.stop()


def test_a_stop_answers_questions_under_way_and_takes_no_more(tmp_path: Path) -> None:
    """The directory takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        directory = (
            'mode = "enforce"\n[directory]\n'
            f'servers = ["ldap://127.0.0.1:{silent.getsockname()[1]}"]\nbind = "anonymous"\n'
            "connect_timeout_s = 2\nlookup_timeout_s = 2\n"
        )
        found = prepared(tmp_path, "http://127.0.0.1:9", directory)
        try:
            found.start_judge()
            words: list[str] = []
            threads = [
                threading.Thread(target=lambda: words.append(asked(found))) for _ in range(5)
            ]
            for thread in threads:
                thread.start()
            wait_until(lambda: "eas_open_exchanges 5.0" in page(found, "/metrics")[1], "they ask")
            assert found.judge is not None
            found.judge.send_signal(signal.SIGTERM)
            wait_until(lambda: not socket_of(tmp_path).exists(), "nobody can ask any more")
            status, said = page(found, "/ready")
            assert (status, "stop" in said or "drain" in said) == (503, True)
            for thread in threads:
                thread.join(20)
            assert words == ["pass directory_unavailable"] * 5
            assert found.judge.wait(20) == 0
            assert len(found.exchanges(5)) == 5
        finally:
            found.stop()


WRONG = {
    "an address of the network": ("JUDGE__LISTEN", "10.0.0.1:9411", "nothing else"),
    "every address": ("JUDGE__LISTEN", "[::]:9411", "nothing else"),
    "a name": ("JUDGE__LISTEN", "judge.contoso.example:9411", "nothing else"),
    "another machine's judge": ("JUDGE__SERVERS", '["192.0.2.1:9411"]', "judge.servers"),
    "no judge": ("JUDGE__SERVERS", "[]", "judge.servers"),
    "a misspelt key": ("JUDGE__LISTNE", "127.0.0.1:9411", "JUDGE__LISTNE"),
    "no URL": ("PROXY__UPSTREAM", "ex07.contoso.local", "proxy.upstream"),
    "no port": ("PROXY__LISTEN", ":99999", "proxy.listen"),
}


@pytest.mark.parametrize("command", ["judge", "haproxy"])
def test_what_is_wrong_is_one_message_for_both_commands(command: str, tmp_path: Path) -> None:
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG)
    words = [command, "--config", str(tmp_path / "eas-redirect.toml")]
    words += ["-o", str(tmp_path / "new")] if command == "haproxy" else []
    for name, (key, value, said) in WRONG.items():
        ran = in_process(*words, environment={f"EAS_REDIRECT__{key}": value})
        assert ran.code == 2, (name, ran.err)
        assert said in ran.err, (name, ran.err)
        assert ran.out == ""
    assert not (tmp_path / "new").exists()
    assert not socket_of(found.directory).exists()


def test_pages_that_another_has_stop_the_start(tmp_path: Path) -> None:
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG)
    with socket.create_server(("127.0.0.1", found.pages)):
        words = [PROGRAM, "judge", "--config", str(tmp_path / "eas-redirect.toml")]
        result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "metrics.listen" in result.stderr
    assert not socket_of(tmp_path).exists()


def test_it_says_at_the_start_whom_it_redirects(judge: Carried) -> None:
    assert "enforce for everyone" in judge.log
    assert json.dumps(str(socket_of(judge.directory)))[1:-1] in judge.log
