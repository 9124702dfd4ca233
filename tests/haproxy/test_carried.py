"""What users and administrators meet with HAProxy in front: logons of connections, observe mode,
forwarded names, both journals, secrets, reloads, and what is refused at a start."""

import base64
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.haproxy.carrying import PROGRAM, Carried, carried, prepared, write_files
from tests.integration.device import PASSWORD, ask
from tests.integration.messages import (
    ANNA,
    BERT,
    CONFIG,
    FOLDER_SYNC,
    LOCATION,
    NO_MAILBOX,
    PING,
    at,
    post,
)
from tests.integration.rawserver import RawServer, Wire, answering, connected
from tests.integration.test_connection_bound import (
    NAMELESS,
    Insisting,
    again,
    log_on,
    log_on_two_users,
)
from tests.integration.upstream import Scripted, upstream
from tests.support import DATA, require

pytestmark = pytest.mark.integration

BODY = NO_MAILBOX.partition(b"\r\n\r\n")[2]


@pytest.fixture(scope="module")
def insisting() -> Insisting:
    return Insisting()


@pytest.fixture(scope="module")
def bound(insisting: Insisting, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carried]:
    require("haproxy")
    with RawServer(insisting.serve) as server:
        where = f"http://127.0.0.1:{server.port}"
        with carried(tmp_path_factory.mktemp("bound"), where, CONFIG) as running:
            yield running


# -- logons that belong to a connection ----------------------------------------------------------


@pytest.mark.parametrize("scheme", [b"NTLM", b"Negotiate"])
def test_a_device_that_logged_on_by_three_legs_is_redirected_later_too(
    scheme: bytes, bound: Carried
) -> None:
    with connected(bound.port) as client:
        assert LOCATION in log_on(client, scheme, "anna")
        assert LOCATION in again(client)
        assert LOCATION in again(client)
    with connected(bound.port) as client:
        assert LOCATION not in log_on(client, scheme, "bert")
        client.send(post(NAMELESS + b"&User=anna"))
        assert LOCATION not in client.read_answer()


def test_many_at_once_are_not_mixed_up(insisting: Insisting, bound: Carried) -> None:
    users = ["anna", "bert"] * 20
    clients = [Wire(socket.create_connection(("127.0.0.1", bound.port), 30)) for _ in users]
    for turn in range(3):
        for client, user in zip(clients, users, strict=True):
            answer = log_on(client, b"NTLM", user) if turn == 0 else again(client)
            assert (LOCATION in answer) is (user == "anna")
    for client in clients:
        client.close()


def test_a_second_logon_by_another_path_ends_what_was_known(
    insisting: Insisting, bound: Carried
) -> None:
    with connected(bound.port) as client:
        log_on_two_users(client, insisting)
    reasons = [at(line, "event.reason") for line in bound.exchanges(len(insisting.seen))]
    assert reasons.count("no_identity") == 1


def test_exchange_that_closes_the_connection_takes_the_logon_with_it(tmp_path: Path) -> None:
    require("haproxy")
    insisting = Insisting()
    insisting.closes_after = 3
    with (
        RawServer(insisting.serve) as server,
        carried(tmp_path, f"http://127.0.0.1:{server.port}", CONFIG) as running,
        connected(running.port) as client,
    ):
        assert LOCATION in log_on(client, b"NTLM", "anna")
        client.send(post(NAMELESS + b"&User=anna"))
        assert b" 401 " in client.read_answer()


# -- modes, names, addresses ---------------------------------------------------------------------


def test_observe_mode_changes_no_byte(tmp_path: Path) -> None:
    require("haproxy")
    config = CONFIG.replace("enforce", "observe")
    with (
        RawServer(answering(NO_MAILBOX)) as server,
        carried(tmp_path, f"http://127.0.0.1:{server.port}", config) as running,
        connected(running.port) as client,
    ):
        client.send(post(FOLDER_SYNC, ANNA))
        assert client.read_answer() == NO_MAILBOX
        (line,) = running.exchanges(1)
    assert at(line, "event.action") == "eas.would_redirect"
    assert at(line, "eas.carrier") == "haproxy"
    assert at(line, "server.port") == server.port
    assert at(line, "user.email") == "anna@contoso.example"


def test_a_wave_of_networks_sees_the_address_that_a_trusted_proxy_tells(tmp_path: Path) -> None:
    """The last four lines of it, from the right; a name that it tells is never the target."""
    require("haproxy")
    config = (
        CONFIG
        + '[exchange]\ntrusted_proxies = ["127.0.0.0/8"]\n'
        + '[redirect.only]\nnetworks = ["192.0.2.0/24"]\n'
    )
    phone, other = b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-For: 198.51.100.7"
    near = b"X-Forwarded-For: 127.0.0.9"
    told: dict[tuple[bytes, ...], bool] = {
        (phone,): True,
        (other,): False,
        (other, phone): True,
        (phone, other): False,
        (phone, near, near): True,
        (phone, near, near, near, near): False,
        (): False,
        (phone, b"X-Forwarded-Host: outlook.office365.com"): False,
        (phone, b"Forwarded: host=outlook.office365.com"): False,
        (phone, b"X-Original-Host: other.contoso.example"): True,
    }
    with (
        RawServer(answering(NO_MAILBOX)) as server,
        carried(tmp_path, f"http://127.0.0.1:{server.port}", config) as running,
    ):
        for headers, redirected in told.items():
            with connected(running.port) as client:
                client.send(post(FOLDER_SYNC, ANNA, *headers))
                assert (LOCATION in client.read_answer()) is redirected, headers


def test_what_a_stranger_claims_of_its_address_is_deleted(tmp_path: Path) -> None:
    require("haproxy")
    with (
        RawServer(answering(NO_MAILBOX)) as server,
        carried(tmp_path, f"http://127.0.0.1:{server.port}", CONFIG, judge=False) as running,
        connected(running.port) as client,
    ):
        claims = (b"X-Forwarded-For: 10.0.0.1", b"Forwarded: for=10.0.0.1", b"X-Odd-Name: yes")
        client.send(post(FOLDER_SYNC, ANNA, *claims))
        client.read_answer()
        sent = bytes(server.wires[-1].received)
    assert b"10.0.0.1" not in sent
    assert b"\r\nMS-ASProtocolVersion: 14.1\r\n" in sent, "names keep their case"


EXPECTING = post(b"/EWS/Exchange.asmx", ANNA, b"Expect: 100-continue", body=b"x" * 20_000)


def ready_at_once(wire: Wire) -> None:
    """An Exchange whose 100 arrives together with the head of its answer, and the body later."""
    while True:
        asked = wire.read_head()
        wire.read_body(asked)
        go_on = b"HTTP/1.1 100 Continue\r\n\r\n" if b"Expect: 100-continue" in asked else b""
        wire.send(go_on + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        time.sleep(0.1)
        wire.send(b"done")


def sent_at_once(client: Wire) -> None:
    client.send(EXPECTING)


def sent_when_told(client: Wire) -> None:
    head, end, body = EXPECTING.partition(b"\r\n\r\n")
    client.send(head + end)
    assert client.read_head().startswith(b"HTTP/1.1 100 ")
    client.send(body)


def answer_to_expectation(port: int, how: Callable[[Wire], None]) -> bytes:
    with connected(port) as client:
        how(client)
        while (answer := client.read_answer()).startswith(b"HTTP/1.1 100 "):
            pass
    return answer


@pytest.mark.parametrize("how", [sent_at_once, sent_when_told])
def test_whoever_expects_a_100_gets_the_whole_answer(
    how: Callable[[Wire], None], tmp_path: Path
) -> None:
    """HAProxy 2.6 loses the body of an answer whose head arrives together with a 100."""
    require("haproxy")
    with (
        RawServer(ready_at_once) as server,
        carried(tmp_path, f"http://127.0.0.1:{server.port}", CONFIG, judge=False) as running,
    ):
        assert answer_to_expectation(running.port, how).endswith(b"\r\n\r\ndone")
        assert b"Expect" not in server.wires[-1].received
        assert server.wires[-1].received.endswith(b"x" * 20_000)


# -- journals and secrets ------------------------------------------------------------------------


def test_both_journals_make_one_report_and_hold_no_secret(tmp_path: Path) -> None:
    require("haproxy")
    moved = Scripted(
        200,
        {"Content-Type": "application/vnd.ms-sync.wbxml"},
        bytes.fromhex("03016A000007564C03313233000101"),
    )
    answers = {"moved": moved, "ping": Scripted(200), "no": Scripted(401), "no mail": Scripted(403)}
    base64_query = "/Microsoft-Server-ActiveSync?jhIJBAZEZXZpY2UEMTIzNAVQaG9uZQ=="
    with upstream(answers) as server:
        where = f"http://127.0.0.1:{server.port}"
        with carried(tmp_path, where, CONFIG) as running:
            assert ask(running.port, "anna@contoso.example", "moved").status == 451
            assert ask(running.port, "CONTOSO\\bert", "ping", command="Ping").status == 200
            ask(running.port, "bert@contoso.example", "ping", target=base64_query)
            ask(running.port, None, "no")
            ask(running.port, "bert@contoso.example", "no mail")
            running.stop_judge()
            assert ask(running.port, "anna@contoso.example", "moved").status == 200
            lines = running.exchanges(6)
            pages = running.admin("show info") + running.admin("show sess all")
        outputs = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    reasons = [at(line, "event.reason") for line in lines]
    assert reasons[:2] == ["mailbox_moved", "other_answer"]
    assert reasons[3] == "unauthenticated"
    assert reasons[5] == "internal_error"
    assert (at(lines[1], "user.name"), at(lines[1], "user.domain")) == ("bert", "CONTOSO")
    assert (at(lines[1], "eas.command"), at(lines[1], "eas.device.id")) == ("Ping", "D1")
    assert [at(lines[2], f"eas.{key}") for key in ("command", "device.id", "device.type")] == [
        *("Ping", "Device", "Phone"),
    ]
    secrets = [s.encode() for s in (DATA / "secrets.txt").read_text("utf-8").splitlines()]
    encoded = [
        base64.b64encode(f"{user}:{PASSWORD}".encode())[20:-4]
        for user in ("anna@contoso.example", "CONTOSO\\bert")
    ]
    for secret in (*secrets, *encoded):
        assert secret not in pages.encode()
        for path, text in outputs.items():
            assert secret not in text, path
    said = subprocess.run(
        [PROGRAM, "report", "--json", tmp_path / "journal.jsonl", tmp_path / "haproxy.log"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode in (0, 1), said.stderr
    read = json.loads(said.stdout)["input"]
    assert (read["exchanges"], read["torn"]) == (6, 0)


@pytest.mark.parametrize("users", ["hash", "drop"])
def test_where_users_are_not_to_be_named_haproxy_names_none(users: str, tmp_path: Path) -> None:
    require("haproxy")
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef")
    policy = f'[journal]\npath = "{tmp_path / "journal.jsonl"}"\nusers = "{users}"\n'
    policy += f'hash_key_file = "{tmp_path / "key"}"\n' if users == "hash" else ""
    with (
        RawServer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server,
        carried(
            tmp_path / "w", f"http://127.0.0.1:{server.port}", CONFIG + policy, judge=False
        ) as it,
        connected(it.port) as client,
    ):
        client.send(post(PING, BERT))
        client.read_answer()
        it.exchanges(1)
    text = (tmp_path / "w" / "haproxy.log").read_text()
    assert "eas.exchange" in text
    assert "bert" not in text
    assert '"id"' not in text


# -- lives ---------------------------------------------------------------------------------------


def test_no_text_makes_a_line_too_long_to_be_read(tmp_path: Path) -> None:
    """Quotes double, and control bytes take six times their room."""
    require("haproxy")
    long = (b'"' * 20_000, b"\x01" * 20_000, "\u00e4".encode() * 10_000, b"\xe4" * 20_000)
    eas = b"/Microsoft-Server-ActiveSync"
    asked = [
        *(post(PING, BERT, b"User-Agent: " + text) for text in long),
        *(post(eas + b"?Cmd=" + b"%22" * 9000 + tail, BERT) for tail in (b"", b"&DeviceId=%01")),
        post(PING, b"Authorization: Basic " + base64.b64encode(b"u" * 9000 + b"@" + b"v" * 9000)),
    ]
    with (
        RawServer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server,
        carried(tmp_path, f"http://127.0.0.1:{server.port}", CONFIG, judge=False) as running,
    ):
        for request in asked:
            with connected(running.port) as client:
                client.send(request)
                assert b" 200 " in client.read_answer()
        lines = running.exchanges(len(asked))
    assert len(lines) == len(asked)
    assert max(len(str(at(line, "user_agent.original"))) for line in lines) == 512
    assert all(len(json.dumps(line, ensure_ascii=False)) < 12_000 for line in lines)


def test_judge_and_haproxy_come_and_go_under_load_and_nothing_is_lost_or_wrong(
    tmp_path: Path,
) -> None:
    """And no old worker dies of what its Lua left open."""
    require("haproxy")
    found: list[bytes] = []
    lost: list[str] = []
    wrong: list[bytes] = []
    ends = threading.Event()

    def phone(who: bytes, redirected: bool) -> None:
        while not ends.is_set():
            try:
                with connected(running.port, timeout_s=20) as client:
                    client.send(post(FOLDER_SYNC, who))
                    answer = client.read_answer()
            except OSError as error:
                lost.append(repr(error))
                continue
            body = answer.partition(b"\r\n\r\n")[2]
            passed = answer.startswith(b"HTTP/1.1 200") and body == BODY
            if not passed and not (redirected and LOCATION in answer):
                wrong.append(answer)
            found.append(answer[:12])

    with (
        RawServer(answering(NO_MAILBOX)) as server,
        carried(tmp_path, f"http://127.0.0.1:{server.port}", CONFIG, master=True) as running,
    ):
        phones = [
            threading.Thread(target=phone, args=(who, who is ANNA)) for who in (ANNA, ANNA, BERT)
        ]
        for thread in phones:
            thread.start()
        assert running.haproxy is not None
        for turn in range(8):
            time.sleep(0.7)
            running.haproxy.send_signal(signal.SIGUSR2)
            if turn == 3:
                running.stop_judge(signal.SIGKILL)
            if turn == 5:
                running.start_judge()
        time.sleep(2)
        ends.set()
        for thread in phones:
            thread.join(30)
        log = running.log
    assert (lost, wrong) == ([], [])
    assert found.count(b"HTTP/1.1 451") > 20
    assert "exited with code 139" not in log
    assert "Segmentation" not in log


def test_the_sockets_file_belongs_to_haproxys_group_and_is_taken_over(tmp_path: Path) -> None:
    require("haproxy")
    with (
        RawServer(answering(NO_MAILBOX)) as server,
        carried(tmp_path, f"http://127.0.0.1:{server.port}", CONFIG) as running,
    ):
        mode = (tmp_path / "judge.sock").stat().st_mode
        assert stat.S_IMODE(mode) == 0o660
        second = judge_that_cannot_start(running)
        assert second.returncode == 2
        assert "another judge listens at" in second.stderr
        assert running.stop_judge(signal.SIGKILL) == -signal.SIGKILL
        assert (tmp_path / "judge.sock").exists()
        running.start_judge()
        assert running.stop_judge() == 0
        assert not (tmp_path / "judge.sock").exists()


def judge_that_cannot_start(
    found: Carried, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PROGRAM, "judge", "--config", str(found.directory / "eas-redirect.toml")],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("JUDGE__LISTEN", "0.0.0.0:9411", "nothing else"),
        ("JUDGE__LISTEN", "unix:/nowhere/at/all.sock", "there is no folder"),
        ("PROXY__UPSTREAM", "ftp://x", "must be the URL"),
    ],
)
def test_a_start_that_is_refused_is_one_message_and_exit_code_2(
    key: str, value: str, said: str, tmp_path: Path
) -> None:
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG)
    result = judge_that_cannot_start(found, **{f"EAS_REDIRECT__{key}": value})
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_haproxy_accepts_what_is_written_without_a_warning(tmp_path: Path) -> None:
    require("haproxy")
    inside = tmp_path / "jail" / "judge.sock"
    variants = {
        "plain": ("http://127.0.0.1:9", "", ()),
        "https": ("https://localhost:444", "", ("--old-tls",)),
        "address": (
            "https://192.0.2.1:444", 'upstream_name = "mail.contoso.example"\n', (),
        ),
    }  # fmt: skip
    for name, (where, proxy, words) in variants.items():
        found = prepared(tmp_path / name, where, CONFIG, *words, proxy=proxy)
        assert_valid(found)
    # HAProxy reads 64 words of a line.
    networks, statuses = [f"10.0.{n}.0/24" for n in range(200)], list(range(500, 600))
    many = f"[exchange]\ntrusted_proxies = {json.dumps(networks)}\nweak_statuses = {statuses}\n"
    found = prepared(tmp_path / "many", "http://127.0.0.1:9", CONFIG + many)
    assert_valid(found)
    text = found.configuration.read_text()
    assert all(network in text for network in networks)
    assert all(f" {status}" in text for status in statuses)
    found = prepared(tmp_path / "jail", "http://127.0.0.1:9", CONFIG)
    assert inside.parent == found.directory
    write_files(found, "--chroot", str(inside.parent))
    assert_valid(found)
    assert '"/judge.sock"' in (found.directory / "haproxy" / "eas.lua").read_text()
    refused = subprocess.run(
        [
            *(PROGRAM, "haproxy", "--config", str(found.directory / "eas-redirect.toml")),
            *("-o", str(tmp_path / "none"), "--chroot", "/var/lib/haproxy"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "cannot see" in refused.stderr
    assert not (tmp_path / "none").exists()


def assert_valid(found: Carried) -> None:
    said = subprocess.run(
        ["haproxy", "-c", "-f", str(found.configuration)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "WARNING" not in said.stdout + said.stderr
    assert "ALERT" not in said.stdout + said.stderr
