"""Files of IIS, and what people take for them: excerpts, other programs' logs, logs of two servers
that pass requests on, and what asks for ActiveSync's path without being a phone."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eas_redirect.cli.main import app
from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import InputKind, find_sources
from eas_redirect.report.report_values import Report
from eas_redirect.telemetry.record import journal_line
from tests.report.test_figures import call

NOW = 1_775_000_000.0  # 2026-03-31
EAS = "/Microsoft-Server-ActiveSync/default.eas"
FIELDS = (
    "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent)"
    " sc-status sc-substatus sc-win32-status time-taken"
)
HEAD = f"#Software: Microsoft Internet Information Services 8.5\n#Version: 1.0\n#Fields: {FIELDS}\n"


def line(
    at: str,
    query: str = "Cmd=Sync&User=anna&DeviceId=A1&DeviceType=iPhone&Log=V141_",
    user: str = r"CONTOSO\anna",
    method: str = "POST",
    agent: str = "Apple-iPhone9C4/1602.92",
    address: str = "192.0.2.7",
    status: int = 200,
) -> str:
    return (
        f"2026-03-{at} 10.0.0.5 {method} {EAS} {query} 443 {user} {address} {agent}"
        f" {status} 0 0 15\n"
    )


def read(tmp_path: Path, fields: tuple[str, ...] = (), **files: str) -> Report:
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    return make_report(find_sources([str(tmp_path)]), NOW, iis_fields=fields)


def calls(report: Report) -> dict[tuple[str, str | None], int]:
    return {(device.user, device.device_id): device.calls for device in report.devices}


ANNA = (r"CONTOSO\anna", "A1")


@pytest.mark.parametrize(
    "before",
    ["", "u_ex.log:", "12:", "u_ex.log:12:", r"C:\logs\W3SVC1\u_ex260301.log:12:", "a-b.log-12-"],
    ids=["grep", "findstr", "grep -n", "grep -nH", "Select-String", "grep -A"],
)
def test_an_excerpt_needs_the_fields_of_another_file_or_of_the_option(
    before: str, tmp_path: Path
) -> None:
    excerpt = before + line("01 08:00:00") + before + line("01 09:00:00")
    alone = read(tmp_path, excerpt=excerpt)
    assert (calls(alone), alone.input.unread_files) == ({}, 1)
    assert any("has no line #Fields:" in note and "--iis-fields" in note for note in alone.notes)
    assert not any("foreign" in note for note in alone.notes)
    told = read(tmp_path, tuple(FIELDS.split()))
    assert (calls(told), told.input.unread_files) == ({ANNA: 2}, 0)
    # The file with the fields comes after the excerpt by name.
    both = read(tmp_path, whole=HEAD + line("01 10:00:00"))
    assert (calls(both), both.input.unread_files) == ({ANNA: 3}, 0)
    assert any("excerpt has no line #Fields: and was read as" in note for note in both.notes)


def test_an_excerpt_with_its_head_found_by_findstr_needs_nothing(tmp_path: Path) -> None:
    found = [f"u_ex.log:{text}\n" for text in (HEAD + line("01 08:00:00")).splitlines()]
    made = read(tmp_path, excerpt="".join(found))
    assert (calls(made), made.notes[-1][:8]) == ({ANNA: 1}, "IIS logs")


def test_fields_that_do_not_fit_an_excerpt_are_not_taken(tmp_path: Path) -> None:
    other = "#Fields: date time cs-uri-stem cs-uri-query\n" + f"2026-03-01 08:00:00 {EAS} -\n"
    made = read(tmp_path, excerpt=line("01 08:00:00"), whole=other)
    assert (calls(made), made.input.unread_files) == ({}, 1)


def test_fields_that_fit_two_ways_are_not_guessed(tmp_path: Path) -> None:
    swapped = FIELDS.replace("cs-username c-ip", "c-ip cs-username")
    text = f"#Fields: {FIELDS}\n" + line("01 08:00:00") + f"#Fields: {swapped}\n"
    made = read(tmp_path, excerpt=line("02 08:00:00"), whole=text)
    assert (calls(made), made.input.unread_files) == ({ANNA: 1}, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "#Software: Microsoft HTTP API 2.0\n#Fields: date time c-ip cs-method cs-uri sc-status"
            " s-reason\n"
            f"2026-03-01 08:00:00 192.0.2.7 POST {EAS}?Cmd=Ping - Timer_ConnectionIdle\n",
            ("http.sys errors", "1 Timer_ConnectionIdle", "cs-uri-stem"),
        ),
        (
            "#Software: Microsoft Forefront Threat Management Gateway\n#Fields: c-ip cs-username"
            " c-agent date time s-computername r-host cs-uri sc-status\n192.0.2.7\tanna\tx\t"
            f"2026-03-01\t08:00:00\tTMG1\tmail\thttps://mail.contoso.example{EAS}\t200\n",
            ("Forefront TMG or ISA Server", "1 of its lines", "cs-uri-stem"),
        ),
        (
            "#Software: Microsoft Exchange Server\n#Log-type: HttpProxy Logs\n"
            "#Fields: DateTime,RequestId,UrlStem,AuthenticatedUser\n"
            f"2026-03-01T08:00:00.000Z,1,{EAS},CONTOSO\\anna\n",
            ("Exchange's own", "W3SVC*"),
        ),
        (
            "#Software: Gateway 7\n#Fields: date time c-ip\n2026-03-01 08:00:00 192.0.2.7\n",
            ("a log of Gateway 7", "cs-uri-stem and cs-uri-query (or cs-username)"),
        ),
        (
            f'192.0.2.7 - CONTOSO\\anna [01/Mar/2026:08:00:00 +0000] "POST {EAS} HTTP/1.1" 200 5\n',
            ("NCSA", "W3C"),
        ),
        (
            "192.0.2.7, CONTOSO\\anna, 3/1/2026, 8:00:00, W3SVC1, EX1, 10.0.0.5, 5, 5, 5, 200, 0,"
            f" POST, {EAS}, Cmd=Ping,\n",
            ("IIS's own form", "W3C"),
        ),
    ],
    ids=["http.sys", "TMG", "HttpProxy", "unknown", "NCSA", "IIS form"],
)
def test_another_programs_log_is_named_and_a_finding(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "x.log").write_text(text, "utf-8")
    result = CliRunner().invoke(app, ["report", str(tmp_path / "x.log"), "--json"])
    assert result.exit_code == 1
    told = next(note for note in result.stderr.splitlines() if "x.log" in note)
    assert [word for word in words if word not in told] == []
    assert json.loads(result.stdout)["devices"] == []
    (tmp_path / "u_ex.log").write_text(HEAD + line("01 08:00:00"), "utf-8")
    beside = CliRunner().invoke(app, ["report", str(tmp_path), "--json"])
    assert beside.exit_code == 1
    assert [d["device_id"] for d in json.loads(beside.stdout)["devices"]] == ["A1"]


@pytest.mark.parametrize(
    "server", [r"CONTOSO\CAS01$", "CAS01$@contoso.example", "contoso.example\\cas-01$"]
)
def test_a_machine_account_is_nobody(server: str, tmp_path: Path) -> None:
    log = "&Log=PrxFrom:10.0.0.9_V141_Error:UserHasNoMailbox_"
    inner = HEAD
    outer = HEAD
    for number, (name, device) in enumerate((("anna", "A1"), ("berta", "B1"))):
        query = f"Cmd=FolderSync&User={name}&DeviceId={device}&DeviceType=iPhone"
        inner += line(f"01 08:00:0{number}", query + log, server)
        outer += line(f"01 08:00:0{number}", f"{query}&Log=PrxTo:cas02_", f"CONTOSO\\{name}")
    inner += line("01 08:01:00", "-", server, "OPTIONS")
    alone = read(tmp_path, inner=inner)
    assert calls(alone) == {("anna", "A1"): 1, ("berta", "B1"): 1}
    assert any(note.startswith("3 lines under the account of another") for note in alone.notes)
    both = read(tmp_path, outer=outer)
    assert calls(both) == {ANNA: 1, (r"CONTOSO\berta", "B1"): 1}
    assert {device.answer for device in both.devices} == {"user_has_no_mailbox"}
    assert both.totals.exchanges == 3


def test_options_that_a_server_passed_on_belong_to_whom_the_outer_line_names(
    tmp_path: Path,
) -> None:
    inner = HEAD + line("01 08:00:01", "-", r"CONTOSO\CAS01$", "OPTIONS", status=403)
    outer = HEAD + line("01 08:00:00", "-", r"CONTOSO\anna", "OPTIONS")
    made = read(tmp_path, inner=inner, outer=outer)
    assert calls(made) == {(r"CONTOSO\anna", None): 1}
    assert made.input.no_phones == 0


@pytest.mark.parametrize(
    ("method", "agent"), [("HEAD", "HAProxy"), ("GET", "kube-probe/1.31"), ("OPTIONS", "-")]
)
def test_what_is_no_phone_keeps_no_server_alive(method: str, agent: str, tmp_path: Path) -> None:
    probe = line("11 08:00:23", "-", "-", method, agent, "10.0.0.9")
    made = read(tmp_path, a=HEAD + line("01 08:00:00") + probe)
    assert (made.totals.exchanges, made.input.no_phones) == (1, 1)
    assert (made.arrivals.can_go, made.arrivals.nameless) == (True, 0)
    (note,) = (note for note in made.notes if "no phone" in note)
    assert "10.0.0.9" in note
    assert f"{method} by {'no User-Agent' if agent == '-' else agent}" in note


def test_moved_devices_that_were_left_alone_for_their_version_are_told(tmp_path: Path) -> None:
    low = "&Log=V121_Error:UserHasNoMailbox_Reason:protocol-version-too-low_"
    text = HEAD
    for hour, device in ((8, "A1"), (9, "A1"), (10, "A2")):
        query = f"Cmd=Sync&User=anna&DeviceId={device}&DeviceType=PocketPC{low}"
        text += line(f"01 {hour:02}:00:00", query)
    made = read(tmp_path, a=text)
    assert any(n.startswith("2 moved devices were left alone: the version") for n in made.notes)


def test_a_journal_at_the_end_of_an_iis_log_is_not_skipped_in_silence(tmp_path: Path) -> None:
    """As after `cat *`."""
    journal = journal_line(call(0)).decode()
    made = read(tmp_path, all=HEAD + line("01 08:00:00") + journal)
    assert (made.totals.exchanges, made.input.foreign) == (1, 1)


def test_an_administrators_browser_is_no_phone(tmp_path: Path) -> None:
    visit = line("02 08:00:00", "-", r"CONTOSO\admin", "GET", "Mozilla/5.0", status=501)
    assert calls(read(tmp_path, a=HEAD + line("01 08:00:00") + visit)) == {ANNA: 1}


@pytest.mark.parametrize(
    ("name", "user"),
    [(r"\anna", "anna"), ("CONTOSO/anna", r"CONTOSO\anna"), (r"CONTOSO\anna", r"CONTOSO\anna")],
)
def test_a_logon_with_an_empty_domain_or_a_slash_is_counted(
    name: str, user: str, tmp_path: Path
) -> None:
    assert calls(read(tmp_path, a=HEAD + line("01 08:00:00", user=name))) == {(user, "A1"): 1}


def test_the_option_must_name_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text(line("01 08:00:00"), "utf-8")
    arguments = ["report", str(tmp_path / "x.log"), "--iis-fields"]
    short = CliRunner().invoke(app, [*arguments, "date time"])
    assert (short.exit_code, "cs-uri-stem" in short.stderr) == (2, True)
    whole = CliRunner().invoke(app, [*arguments, f"#Fields: {FIELDS}"])
    assert whole.exit_code == 0


def test_kinds_of_files_by_their_first_lines(tmp_path: Path) -> None:
    texts = {
        "1": (line("01 08:00:00"), InputKind.EXCERPT),
        "2": (HEAD, InputKind.IIS),
        "3": ("u_ex.log:#Fields: date\n", InputKind.IIS),
        "4": ('{"@timestamp": "2026-03-01 08:00:00 "}\n', InputKind.JOURNAL),
        "5": ("milk\nbread\n", InputKind.JOURNAL),
        "6": ("", InputKind.JOURNAL),
    }
    for name, (text, _) in texts.items():
        (tmp_path / name).write_text(text, "utf-8")
    kinds = [source.kind for source in find_sources([str(tmp_path)])]
    assert kinds == [kind for _, kind in texts.values()]


def test_an_excerpt_that_begins_with_a_time_is_no_capture(tmp_path: Path) -> None:
    """mitmproxy's flows begin with numbers and colons too."""
    query = "Cmd=Sync&User=anna&DeviceId=A1&DeviceType=iPhone"
    made = read(tmp_path, u_ex=f"10:00:01 POST {EAS} {query} CONTOSO\\anna\n" * 3)
    assert not any("is a capture" in note for note in made.notes)
    assert any("#Fields:" in note for note in made.notes)
