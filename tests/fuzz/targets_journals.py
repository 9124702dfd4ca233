"""Targets of the report: journals, IIS logs and lists of users, as they lie on somebody's disk."""

import json

from eas_redirect.configuration.user_list import UserListError, read_users
from eas_redirect.report.exports import report_json
from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import SourceError, find_sources
from eas_redirect.report.page import report_page
from eas_redirect.report.store import StoreError
from eas_redirect.telemetry.record import Record, journal_line
from eas_redirect.telemetry.w3c import FIELDS, iis_line, read_line
from tests.fuzz.scratch import written
from tests.fuzz.target import target

NOW_S = 1_800_000_000.0
RECORD = Record(
    timestamp_s=NOW_S - 3600,
    action="eas.redirect",
    message="451",
    reason="mailbox_moved",
    method="POST",
    status_code=451,
    url_path="/Microsoft-Server-ActiveSync",
    user_name="anna",
    user_domain="CONTOSO",
    user_agent="Android/12.0.0-EAS-2.0",
    command="Sync",
    device_id="D1",
    device_type="Android",
    upstream_status_code=200,
    decision="redirect",
    mode="enforce",
    redirect_location="https://outlook.office365.com/Microsoft-Server-ActiveSync",
)
JOURNAL_TOKENS = (
    b'"eas":null',
    b'"@timestamp":"9999-12-31T23:59:59.999Z"',
    b'"event":{"action":"eas.ledger"}',
    b'{"eas":[',
    b"\n",
    b"\0",
    b"\xff",
    b"1e999",
    b"<script>",
    b"[" * 2000,
)


# A report takes a tenth of a second, most of it to set the database up.
@target(
    seeds=lambda: [journal_line(RECORD) * 3],
    tokens=JOURNAL_TOKENS,
    max_size=16 * 1024,
    base_us=3_000_000,
    per_byte_us=100,
    per_byte=8192,
)
def fuzz_report(data: bytes) -> None:
    """Any file is a report, as JSON and as a page, or one of its two errors, which say
    what to do."""
    path = written(data, "eas-journal.jsonl")
    try:
        report = make_report(find_sources([str(path)]), NOW_S)
    except (SourceError, StoreError) as error:
        assert str(error)
        return
    json.dumps(report_json(report), allow_nan=False)
    assert "<script>alert" not in report_page(report)


@target(
    seeds=lambda: [(iis_line(RECORD) or "").encode()],
    tokens=(b" - ", b"%20", b"Cmd=", b"&Log=V141_", b"_Error:UserHasNoMailbox", b"+"),
)
def fuzz_iis_line(data: bytes) -> None:
    """Any line of an IIS log is a record or none; a record is written as one line of as many
    fields."""
    record = read_line(FIELDS, data.decode("utf-8", "replace"))
    if record is not None:
        again = iis_line(record)
        assert again is not None
        assert len(again.split(" ")) == len(FIELDS)
        assert again.isprintable()


@target(
    seeds=lambda: [b"user,department\nanna,Sales\nbert@contoso.example,IT\n", b"anna\nbert\n"],
    tokens=(b'"', b";", b"\t", b"\r\n", b"\xef\xbb\xbf", b"UserPrincipalName", b"\0"),
)
def fuzz_user_list(data: bytes) -> None:
    """Any file is a list of users, none of them empty, or a UserListError with the file's name."""
    path = written(data, "users.csv")
    try:
        users = read_users(path)
    except UserListError as error:
        assert str(path) in str(error)
        return
    assert users
    assert all(user.strip() for user in users)
