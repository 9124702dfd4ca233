"""The W3C form: a log as Exchange writes it, and our own, there and back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.telemetry.journal import IISLog, Journals, Redaction
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.w3c import (
    FIELDS,
    LogTokens,
    W3CReader,
    iis_line,
    read_line,
    read_tokens,
)
from tests.support import DATA

CLOUD = "https://outlook.office365.com/Microsoft-Server-ActiveSync"


def records_of(path: Path) -> list[Record | None]:
    names: tuple[str, ...] = ()
    found = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#Fields:"):
            names = tuple(line.split()[1:])
        elif not line.startswith("#"):
            found.append(read_line(names, line))
    return found


def test_a_log_of_exchange_is_read() -> None:
    found = records_of(DATA / "iis" / "u_ex260302.log")
    facts = [
        r
        and (
            r.user_email or f"{r.user_domain}\\{r.user_name}",
            r.device_id,
            r.command,
            r.protocol_version,
            r.status_code,
            r.reason,
        )
        for r in found
    ]
    assert facts == [
        ("CONTOSO\\anna", "ApplDN6GW0CCDFJ2", "Sync", "14.1", 200, "other_answer"),
        None,  # OWA
        ("CONTOSO\\anna", "ApplDN6GW0CCDFJ2", "Sync", "14.1", 200, "user_has_no_mailbox"),
        ("CONTOSO\\anna", None, "OPTIONS", None, 403, "other_answer"),
        ("berta@contoso.example", "v140Device", "Sync", "14.0", 200, "user_has_no_mailbox"),
        ("carl@contoso.example", "C1", "FolderSync", "14.0", 451, "native_redirect"),
        ("None\\dora", "D1", "Ping", "2.5", 401, "unauthenticated"),
        None,  # cut short
        ("emil@contoso.example", "E1", "Ping", "16.1", 200, "other_answer"),
    ]
    redirected = found[5]
    assert redirected is not None
    assert (redirected.decision, redirected.redirect_location) == ("redirect", CLOUD)
    assert found[6] is not None
    assert found[6].url_domain == "mail.contoso.example"
    assert found[0] is not None
    assert found[0].duration_ns == 93_000_000
    assert found[0].client_family == "apple_mail"


@pytest.mark.parametrize(
    ("query", "tokens"),
    [
        ("", LogTokens()),
        ("Cmd=Sync", LogTokens()),
        (
            "Cmd=Sync&Log=V121_Sst1_Error:UserHasNoMailbox",
            LogTokens(version="12.1", error="UserHasNoMailbox"),
        ),
        (
            "Log=V141_PrxFrom:10.0.0.9_HH:a.example_",
            LogTokens(version="14.1", proxied_from="10.0.0.9", host="a.example"),
        ),
        ("Log=XV141_Vxx", LogTokens()),
        ("Log=V141_V140_Error:_HH:x", LogTokens(version="14.1", host="x")),
        ("Log=V0_LdapC9_Mbx:mbx1_", LogTokens()),
        (
            "Cmd=Sync&Log=Error:UserHasNoMailbox_SC1:123_PrxFrom:10.0.0.1_Ver1:141_As:AllowedG",
            LogTokens(version="14.1", error="UserHasNoMailbox", proxied_from="10.0.0.1"),
        ),
        (
            "Log=PrxFrom:10.0.0.9_V140_Ver1:141_HH:a%2dmail.example_Policy%3aDefault%5FPolicy_",
            LogTokens(version="14.0", proxied_from="10.0.0.9", host="a-mail.example"),
        ),
        (
            "Cmd=Sync&Log%3dV141%5fError%3aUserHasNoMailbox%5f",
            LogTokens(version="14.1", error="UserHasNoMailbox"),
        ),
    ],
)
def test_tokens(query: str, tokens: LogTokens) -> None:
    assert read_tokens(query) == tokens


EAS = "/Microsoft-Server-ActiveSync/default.eas"
AGENT = "Apple-iPhone15C2/2107.102"
DEVICE = "DeviceId=D1&DeviceType=iPhone"
CAFE = "&CorrelationID=<empty>;&cafeReqId=b4adb3d9-b9d7-4bd5-a4e8-2a4bd5fcb0ad;"
NO_MAILBOX = "Log=Error:UserHasNoMailbox_PrxFrom:10.0.0.1_Ver1:141_"


# What a line says to the report: who, device, reason, version, and which of two servers wrote it.
@pytest.mark.parametrize(
    ("lines", "facts"),
    [
        (  # the back end of an Exchange 2013
            [f"10:00:00 {EAS.replace('/default', '/Proxy/default')} {DEVICE}&{NO_MAILBOX} C\\erin"],
            ("C\\erin", "D1", "user_has_no_mailbox", "14.1", "inner"),
        ),
        (  # and its front end
            [f"10:00:00 {EAS} Cmd=Sync&{DEVICE}{CAFE} C\\erin"],
            ("C\\erin", "D1", "other_answer", None, "front"),
        ),
        (
            [f"10:00:00 {EAS} jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l{CAFE} C\\erin"],
            ("C\\erin", "v140Device", "other_answer", "14.0", "front"),
        ),
        (  # a blank in an account's name, and a plus in an address
            [f"10:00:00 {EAS} Cmd=Sync&{DEVICE}&Log=V141_ C\\john+doe"],
            ("C\\john doe", "D1", "other_answer", "14.1", "other"),
        ),
        (
            [f"10:00:00 {EAS} Cmd=Sync&{DEVICE}&Log=V141_ anna+b@contoso.example"],
            ("anna+b@contoso.example", "D1", "other_answer", "14.1", "other"),
        ),
        (  # Advanced Logging
            [
                "#Software: IIS Advanced Logging Module",
                f'10:00:00.123 {EAS} "Cmd=Sync&{DEVICE}&Log=V141_" "C\\a ""b"""',
            ],
            ('C\\a "b"', "D1", "other_answer", "14.1", "other"),
        ),
        (
            [f"10:00:00\t{EAS}\tCmd=Sync&{DEVICE}\tC\\erin"],
            ("C\\erin", "D1", "other_answer", None, "other"),
        ),
        (  # fields in another order, changed within the file
            [
                f"10:00:00 {EAS} Cmd=Sync C\\first",
                "#Fields: cs-username cs-uri-query cs-uri-stem time",
                f"C\\second Cmd=Sync&{DEVICE} {EAS} 10:00:01",
            ],
            ("C\\second", "D1", "other_answer", None, "other"),
        ),
        (  # no query at all
            [
                "#Fields: time cs-uri-stem cs-username sc-status",
                f"10:00:00 {EAS} C\\erin 401",
            ],
            ("C\\erin", None, "unauthenticated", None, "other"),
        ),
    ],
)
def test_logs_of_all_sorts(lines: list[str], facts: tuple[str | None, ...]) -> None:
    reader = W3CReader()
    head = ["#Date: 2026-03-02 00:00:00", "#Fields: time cs-uri-stem cs-uri-query cs-username"]
    entry = [reader.read(line) for line in (*head, *lines)][-1]
    assert entry is not None
    assert reader.unread == 0
    found = entry.record
    user = found.user_email or f"{found.user_domain}\\{found.user_name}"
    assert (user, found.device_id, found.reason, found.protocol_version, entry.side) == facts
    assert found.timestamp_s // 3600 == 1_772_445_600 // 3600


def test_only_lines_that_should_be_exchanges_are_unread() -> None:
    reader = W3CReader()
    lines = (
        "#Fields: date time cs-uri-stem cs-uri-query",
        f"2026-03-02 10:00:00 /owa/ url={EAS}",
        f"2026-03-02 10:00:00 {EAS} - one too many",
        f"yesterday 10:00:00 {EAS} -",
    )
    assert [reader.read(line) for line in lines] == [None] * 4
    assert reader.unread == 2


WORDS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=30)


@given(
    user=st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=30),
    device=st.text("abcXYZ0189_-", min_size=1, max_size=32),
    agent=WORDS,
    redirect=st.booleans(),
)
def test_what_is_written_is_read_back(user: str, device: str, agent: str, redirect: bool) -> None:
    record = Record(
        timestamp_s=1_772_409_600.0,
        action="eas.redirect" if redirect else "eas.exchange",
        message="from an IIS log",
        reason="mailbox_moved" if redirect else "other_answer",
        duration_ns=12_000_000,
        client_address="192.0.2.1",
        method="POST",
        status_code=451 if redirect else 200,
        url_domain="mail.contoso.example",
        url_path="/Microsoft-Server-ActiveSync",
        user_agent=agent,
        user_name=user,
        device_id=device,
        device_type="iPhone",
        command="Sync",
        protocol_version="14.1",
        decision="redirect" if redirect else "pass",
        evidence="certain" if redirect else None,
        redirect_location=CLOUD if redirect else None,
    )
    line = iis_line(record)
    assert line is not None
    assert "\n" not in line
    assert len(line.split(" ")) == len(FIELDS)
    back = read_line(FIELDS, line)
    assert back is not None
    same: tuple[str, ...] = (
        "timestamp_s",
        "action",
        "reason",
        "duration_ns",
        "method",
        "status_code",
        "url_domain",
    )
    same += ("device_id", "device_type", "command", "protocol_version", "decision", "evidence")
    same += ("redirect_location", "client_address")
    assert {n: getattr(back, n) for n in same} == {n: getattr(record, n) for n in same}
    if agent.strip() == agent and "%2B" not in agent and agent != "-":
        assert back.user_agent is not None
        assert (
            back.user_agent.split() == "".join(c if c.isprintable() else "?" for c in agent).split()
        )


@given(st.text(max_size=300))
def test_any_line_is_a_record_or_none(line: str) -> None:
    names = tuple(f"x{n}" for n in range(len(line.split(" "))))
    assert read_line(names, line) is None
    read_line((*FIELDS,), " ".join(("2026-03-02 00:00:00", line)))
    read_tokens(line)


def test_events_are_no_lines() -> None:
    event = Record(timestamp_s=1.0, action="eas.ledger", message="", method=None)
    assert iis_line(event) is None


def test_a_question_to_autodiscover_is_a_line_that_no_report_counts_as_activesync() -> None:
    path = "/Autodiscover/Autodiscover.xml"
    asked = Record(
        timestamp_s=1_770_000_000.0,
        action="eas.autodiscover",
        message="",
        method="POST",
        url_path=path,
        user_email="anna@contoso.example",
        status_code=200,
        decision="redirect",
        reason="mailbox_moved",
    )
    line = iis_line(asked)
    assert line is not None
    assert f" POST {path} " in line
    assert "anna@contoso.example" in line
    assert "Reason:mailbox-moved" in line
    assert read_line(FIELDS, line) is None


def test_the_log_begins_with_its_fields_and_follows_rotation(tmp_path: Path) -> None:
    path = tmp_path / "eas.log"
    log = IISLog(str(path), Redaction(users="hash", key=b"k"))
    record = Record(
        timestamp_s=1_772_409_600.0,
        action="eas.exchange",
        message="",
        method="POST",
        user_name="anna",
        user_domain="CONTOSO",
        device_id="Appl1",
    )
    log.write(record)
    log.write(Record(timestamp_s=1.0, action="eas.config", message="no exchange"))
    assert log.flush()
    path.rename(tmp_path / "eas.log.1")
    log.reopen()
    log.write(record)
    log.close()
    IISLog(str(path)).close()  # a restart appends
    for name in ("eas.log", "eas.log.1"):
        lines = (tmp_path / name).read_text("utf-8").splitlines()
        assert [line.split()[0] for line in lines[:4]] == [
            "#Software:",
            "#Version:",
            "#Date:",
            "#Fields:",
        ]
        assert len(lines) == 5
        assert "anna" not in lines[4]
        assert "Appl1" not in lines[4]
        assert "CONTOSO\\" in lines[4]


def test_both_journals_are_one_thing_to_write_to(tmp_path: Path) -> None:
    record = Record(timestamp_s=1.0, action="eas.exchange", message="", method="POST")
    both = Journals(str(tmp_path / "a.jsonl"), str(tmp_path / "a.log"), Redaction())
    both.write(record)
    both.reopen()
    both.write(record)
    both.close()
    assert both.lost == 0
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2
    assert len((tmp_path / "a.log").read_text().splitlines()) == 4 + 2
    with pytest.raises(OSError, match="no-folder"):
        Journals(str(tmp_path / "b.jsonl"), str(tmp_path / "no-folder" / "b.log"), Redaction())
