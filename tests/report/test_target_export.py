"""What PowerShell's Export-Csv makes of mobile devices, in every shape of it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from eas_redirect.report.target_export import (
    DateOrder,
    TargetError,
    TargetRow,
    TargetRows,
    read_export,
    read_time,
)

AT = datetime(2026, 3, 26, 9, 12, 11, tzinfo=UTC).timestamp()
PATH = "contoso.example/Staff/Anna Müller/ExchangeActiveSyncDevices/iPhone§ApplDN6"
DN = (
    "CN=iPhone§ApplDN6,CN=ExchangeActiveSyncDevices,CN=Müller\\, Anna,OU=Staff,"
    "DC=contoso,DC=example"
)
TYPE = "#TYPE Microsoft.Exchange.Management.Tasks.MobileDeviceConfiguration\r\n"


def read(tmp_path: Path, content: bytes, order: DateOrder | None = None) -> TargetRows:
    path = tmp_path / "devices.csv"
    path.write_bytes(content)
    found = TargetRows()
    read_export(path, "devices.csv", found, order)
    return found


def only(found: TargetRows) -> TargetRow:
    (row,) = found.rows
    return row


def test_ascii_with_question_marks(tmp_path: Path) -> None:
    """`Export-Csv` of Windows PowerShell 5.1 without -Encoding."""
    text = f'{TYPE}"Identity","DeviceAccessState"\r\n"{PATH}","Quarantined"\r\n'
    row = only(read(tmp_path, text.encode("ascii", "replace")))
    assert (row.device_id, row.state, row.shown_names) == ("ApplDN6", "quarantined", ())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "utf-8", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("preface", ["", TYPE])
def test_encodings_separators_and_prefaces(
    tmp_path: Path, encoding: str, delimiter: str, preface: str
) -> None:
    rows = (
        ("RunspaceId", "deviceid", "DeviceType", "Identity", "LASTSUCCESSSYNC", "ClientType"),
        ("1", "{ApplDN6}", "iPhone", PATH, "2026-03-26T09:12:11Z", "EAS"),
    )
    lines = [delimiter.join(f'"{cell}"' for cell in row) for row in rows]
    row = only(read(tmp_path, (preface + "\r\n".join(lines)).encode(encoding)))
    assert (row.device_id, row.success_s, row.shown_names) == ("ApplDN6", AT, ("Anna Müller",))


@pytest.mark.parametrize(
    ("encoding", "named"), [("cp850", "850"), ("cp437", "437"), ("cp1252", "Windows-1252")]
)
def test_a_code_page_is_known_by_the_section_sign(
    tmp_path: Path, encoding: str, named: str
) -> None:
    """`Export-Csv -Encoding OEM` or `Default`."""
    # Python has no section sign in code page 437, and DOS has one, at 15 hexadecimal.
    content = f'"Identity"\r\n"{PATH}"\r\n'.replace("§", "\x15" if encoding == "cp437" else "§")
    found = read(tmp_path, content.encode(encoding))
    assert (only(found).device_id, only(found).shown_names) == ("ApplDN6", ("Anna Müller",))
    assert named in found.notes[0]


def test_letters_of_a_code_page_that_nobody_knows_are_left_aside(tmp_path: Path) -> None:
    text = '"User","DeviceID","Identity"\r\n"anna@contoso.example","ApplDN6","'
    found = read(tmp_path, text.encode() + "Мюллер".encode("cp866") + b'\x81"\r\n')
    assert (only(found).device_id, only(found).users) == ("ApplDN6", ("anna@contoso.example",))
    assert "-Encoding UTF8" in found.notes[0]


def test_what_a_file_lacks_is_said(tmp_path: Path) -> None:
    notes = read(tmp_path, b"DeviceId,DeviceType\r\nA,iPhone\r\n").notes
    said = ["LastSuccessSync", "DeviceAccessState", "FirstSyncTime", "tells the user"]
    assert [word for word in said if any(word in note for note in notes)] == said
    whole = "User,DeviceId,DeviceAccessState,FirstSyncTime,LastSuccessSync\r\nu,A,Allowed,,\r\n"
    assert read(tmp_path, whole.encode()).notes == []


@pytest.mark.parametrize(
    ("cell", "state"),
    [("Allowed", "allowed"), ("3", "quarantined"), ("Device Discovery", "devicediscovery")],
)
def test_states_by_name_and_by_number(tmp_path: Path, cell: str, state: str) -> None:
    content = f"DeviceId,DeviceAccessState\r\nA,{cell}\r\n".encode()
    assert only(read(tmp_path, content)).state == state


def test_an_empty_state_is_not_allowed_and_a_missing_column_is_none(tmp_path: Path) -> None:
    assert only(read(tmp_path, b"DeviceId,DeviceAccessState\r\nA,\r\n")).state == "unknown"
    assert only(read(tmp_path, b"DeviceId\r\nA\r\n")).state is None


def test_the_user_stands_in_the_dn(tmp_path: Path) -> None:
    text = f'"DistinguishedName","UserPrincipalName"\r\n"{DN}","anna@contoso.example"\r\n'
    row = only(read(tmp_path, text.encode()))
    assert row.device_id == "ApplDN6"
    assert row.users == ("anna@contoso.example",)
    assert row.shown_names == ("Müller, Anna",)
    assert row.owner == "cn=müller\\, anna,ou=staff,dc=contoso,dc=example"


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("2026-03-26T09:12:11Z", None),
        ("2026-03-26 10:12:11+01:00", None),
        ("2026-03-26T09:12:11.0000000Z", None),
        ("3/26/2026 9:12:11 AM", None),
        ("3/26/2026 9:12:11\N{NARROW NO-BREAK SPACE}AM", None),
        ("26.03.2026 09:12:11", None),
        ("26/03/2026 09:12:11", None),
        ("26-03-2026 09:12:11", None),
        ("2026/3/26 9:12:11", None),
        ("26.03.2026, 09.12.11", None),
        ("2026. 03. 26. 9:12:11", None),
        ("26. 3. 2026 9:12:11", None),
    ],
)
def test_times_of_several_cultures(text: str, order: DateOrder | None) -> None:
    assert read_time(text, order) == AT


def test_noon_midnight_and_never() -> None:
    noon = datetime(2026, 3, 26, 12, 5, tzinfo=UTC).timestamp()
    assert read_time("3/26/2026 12:05:00 PM", None) == noon
    assert read_time("3/26/2026 12:05:00 AM", None) == noon - 12 * 3600
    assert read_time("1/1/0001 12:00:00 AM", None) is None
    assert read_time("01.01.1601 01:00:00", None) is None


@pytest.mark.parametrize(
    "text",
    ["3/4/2026 9:12:11 AM", "26. März 2026", "31.02.2026 09:00:00", "07/10/1447 09:12:11 ص"],
)
def test_what_may_mean_two_days_or_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"2026|1447"):
        read_time(text, None)


def test_another_calendar_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another calendar"):
        read_time("1447/10/07 09:12:11", None)
    path = tmp_path / "devices.csv"
    path.write_bytes(times("26/3/2569 9:12:11"))
    with pytest.raises(TargetError, match=r"devices.csv:2: lastsuccesssync: .*another calendar"):
        read_export(path, "devices.csv", TargetRows(), None, AT)


def times(*texts: str) -> bytes:
    rows = (f'"id{n}","{text}"' for n, text in enumerate(texts))
    return "\r\n".join(('"DeviceID","LastSuccessSync"', *rows)).encode()


def test_one_day_above_twelve_tells_for_the_whole_file(tmp_path: Path) -> None:
    march_4 = datetime(2026, 3, 4, 9, tzinfo=UTC).timestamp()
    american = read(tmp_path, times("3/4/2026 9:00:00 AM", "3/26/2026 9:00:00 AM"))
    british = read(tmp_path, times("4/3/2026 9:00:00 AM", "26/3/2026 9:00:00 AM"))
    assert american.rows[0].success_s == british.rows[0].success_s == march_4


def test_an_ambiguous_file_asks(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"devices.csv:2: .*--target-dates day-first"):
        read(tmp_path, times("3/4/2026 9:00:00 AM"))
    told = only(read(tmp_path, times("3/4/2026 9:00:00 AM"), "day-first"))
    assert told.success_s == datetime(2026, 4, 3, 9, tzinfo=UTC).timestamp()
    with pytest.raises(TargetError, match="mixes two orders"):
        read(tmp_path, times("3/26/2026 9:00", "26/3/2026 9:00"))


def test_rows_that_are_no_phones_are_counted(tmp_path: Path) -> None:
    text = (
        "DeviceId,DeviceType,ClientType\r\nA,iPhone,EAS\r\nB,Outlook,Outlook\r\nC,Outlook,REST\r\n"
        ",iPhone,EAS\r\nP,TestActiveSyncConnectivity,EAS\r\n"
    )
    found = read(tmp_path, text.encode())
    assert only(found).device_id == "A"
    assert sorted(found.left_out.values()) == [1, 1, 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"#TYPE Selected.Object\r\n", "is empty"),
        (b"Name,Alias\r\nAnna,anna\r\n", "no column DeviceId, .* Its first line is: name, alias"),
        ("Gerätekennung;Gerätetyp\r\n1;2\r\n".encode(), "no column DeviceId"),
        (b"DeviceId      DeviceType\r\n--------  -------\r\nA    iPhone\r\n", "no column DeviceId"),
        (b"PK\x03\x04\x00\x01\xff", "no column DeviceId"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        read(tmp_path, content)


def test_the_newest_time_is_how_far_the_file_reaches(tmp_path: Path) -> None:
    found = read(tmp_path, times("2026-03-01T00:00:00Z", "2026-03-26T09:12:11Z", ""))
    assert found.newest_s == AT
    assert found.rows[2].success_s is None
