"""A question is judged as an exchange is; whatever is odd about it passes Exchange's answer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.configuration.config import load_config
from eas_redirect.haproxy.answering import Answering, LegacyServer
from eas_redirect.haproxy.question import JudgeReply, Question
from eas_redirect.judging.challenges import Challenges
from eas_redirect.judging.judge import Judge
from eas_redirect.service.service import Service
from eas_redirect.telemetry.record import Record
from tests.support import DATA
from tests.test_addon import LOCATION, NO_MAILBOX

CONFIG = f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
FRONTED = f'{CONFIG}[exchange]\ntrusted_proxies = ["192.0.2.0/24"]\n'
ANNA = b"Basic YW5uYUBjb250b3NvLmV4YW1wbGU6eA=="
BERT = b"Basic YmVydEBjb250b3NvLmV4YW1wbGU6eA=="
OTHER_LINES = ("eas.directory", "eas.ledger")  # what an exchange causes, and readings
MOVED = Question(
    {
        "method": b"POST",
        "target": b"/Microsoft-Server-ActiveSync?Cmd=FolderSync&User=anna&DeviceId=D1&DeviceType=P",
        "host": b"mail.contoso.example",
        "hosts": b"1",
        "authorization": ANNA,
        "authorizations": b"1",
        "version1": b"14.1",
        "versions": b"1",
        "src": b"192.0.2.7",
        "src_port": b"50000",
        "started": b"1772409600000000",
        "status": b"200",
        "answer": NO_MAILBOX,
    },
    (
        ("content-type", b"application/vnd.ms-sync.wbxml"),
        ("content-length", b"%d" % len(NO_MAILBOX)),
    ),
)


class Bench:
    """One judge's side of the socket, with what it journals."""

    def __init__(self, folder: Path, text: str = CONFIG) -> None:
        path = folder / "eas-redirect.toml"
        path.write_text(text, "utf-8")
        self.service = Service(load_config(path))
        self.records: list[Record] = []
        self.service.sinks.append(self.records.append)
        self.answering = Answering(
            self.service,
            LegacyServer(host="ex07.contoso.local", port=443),
            Challenges(),
            Challenges(),
            clock=lambda: 1_772_409_601.0,
        )

    async def ask(self, question: Question, *, there: bool = True) -> JudgeReply | None:
        return await self.answering.reply(question, lambda: there)

    @property
    def exchanges(self) -> list[Record]:
        return [record for record in self.records if record.action not in OTHER_LINES]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.service.close()


def with_facts(**facts: bytes) -> Question:
    return replace(MOVED, facts=MOVED.facts | facts)


async def test_who_has_moved_is_redirected_and_the_line_says_what_the_wire_said(
    bench: Bench,
) -> None:
    assert await bench.ask(MOVED) == JudgeReply(
        word="redirect", reason="mailbox_moved", given=LOCATION.encode()
    )
    (line,) = bench.exchanges
    assert (line.carrier, line.client_address, line.client_port) == ("haproxy", "192.0.2.7", 50000)
    assert (line.server_address, line.server_port) == ("ex07.contoso.local", 443)
    assert line.url_path == "/Microsoft-Server-ActiveSync"


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (with_facts(authorization=BERT), "recipient_has_mailbox"),
        (with_facts(authorizations=b"2"), "no_identity"),
        (with_facts(status=b"500"), "other_answer"),
        (replace(MOVED, headers=(*MOVED.headers, ("content-length", b"9"))), "other_answer"),
        (with_facts(target=b"/owa/"), "other_answer"),
        (with_facts(version1=b"12.1"), "protocol_version_too_low"),
        (with_facts(host=b"outlook.office365.com"), "redirect_loop"),
        (with_facts(sni=b"outlook.office365.com"), "redirect_loop"),
        (with_facts(url=b"https://outlook.office365.com/Microsoft-Server-ActiveSync", hosts=b"0",
                    host=b""), "redirect_loop"),
    ],
    ids=["a mailbox here", "two logons", "another answer", "half a body", "another path",
         "an old version", "called by the target", "TLS to the target", "a URL of the target"],
)  # fmt: skip
async def test_everybody_else_keeps_exchanges_answer(
    question: Question, reason: str, bench: Bench
) -> None:
    assert await bench.ask(question) == JudgeReply(word="pass", reason=reason)


async def test_whose_haproxy_has_left_is_told_nothing_and_has_no_line(bench: Bench) -> None:
    assert await bench.ask(MOVED, there=False) is None
    assert bench.exchanges == []


async def test_a_fault_of_ours_passes_the_answer_and_is_journalled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("with a password in it")

    monkeypatch.setattr(Judge, "judge", failing)
    assert await bench.ask(MOVED) == JudgeReply(word="pass", reason="internal_error")
    (line,) = bench.exchanges
    assert (line.reason, line.error_type) == ("internal_error", "RuntimeError")
    assert "password" not in caplog.text
    assert "RuntimeError" in caplog.text


async def test_what_a_front_says_counts_only_where_it_is_trusted(tmp_path: Path) -> None:
    claims = with_facts(
        forwarded_hosts=b"1",
        forwarded_host1=b"outlook.office365.com",
        forwarded_fors=b"1",
        forwarded_for1=b"198.51.100.9",
    )
    alone = Bench(tmp_path)
    assert (await alone.ask(claims)) == await alone.ask(MOVED)
    fronted = Bench(tmp_path, FRONTED)
    assert await fronted.ask(claims) == JudgeReply(word="pass", reason="redirect_loop")
    assert fronted.exchanges[-1].forwarded_ip == "198.51.100.9"
    alone.service.close()
    fronted.service.close()


async def test_of_more_lines_than_haproxy_remembers_none_is_believed(tmp_path: Path) -> None:
    """The one that it forgot may name the target: then no name is known, and nobody is sent."""
    five = {f"forwarded_host{n}": b"a.example" for n in range(1, 5)}
    fronted = Bench(tmp_path, FRONTED)
    said = await fronted.ask(with_facts(forwarded_hosts=b"5", **five))
    assert said is not None
    assert said.word == "pass"
    fronted.service.close()


async def test_a_logon_of_the_connection_names_whoever_brings_none(bench: Bench) -> None:
    target = b"/Microsoft-Server-ActiveSync?Cmd=FolderSync&DeviceId=D1&DeviceType=P"
    bare = with_facts(target=target, authorization=b"", authorizations=b"0")
    assert await bench.ask(bare) == JudgeReply(word="pass", reason="no_identity")
    remembered = replace(bare, facts=bare.facts | {"logon": ANNA})
    found = await bench.ask(remembered)
    assert found is not None
    assert (found.word, found.given) == ("redirect", LOCATION.encode())
