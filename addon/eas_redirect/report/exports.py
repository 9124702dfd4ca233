"""The report as JSON and as CSV. Pure: of the same values as the page."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass

from eas_redirect.report.handover import NEXT_STEPS
from eas_redirect.report.report_values import FORMAT, Device, Report, Target
from eas_redirect.report.words import stamp
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.printable import printable

# Spreadsheets take a cell that begins like this for a formula, some of them after spaces; names in
# journals come from clients. The last four are the wide forms of East Asian keyboards.
_WIDE = 0xFEE0  # from a sign of ASCII to its wide form, which Excel takes for the sign
_FORMULA = (*"=+-@|\t\r\n", *(chr(ord(sign) + _WIDE) for sign in "=+-@"))

COLUMNS = (
    "user",
    "device_id",
    "device_type",
    "client_family",
    "user_agent",
    "state",
    "confirmed",
    "first_seen",
    "last_seen",
    "silent_s",
    "usual_interval_s",
    "calls",
    "redirects",
    "returns",
    "redirected",
    "location",
    "wave",
    "protocol_version",
    "auth_scheme",
    "logon_format",
    "last_reason",
    "likely_cause",
    "readiness",
    "readiness_rule",
    "readiness_source",
    "findings",
    "verdict",
    "verdict_why",
    "joined_by",
    "target_last_sync",
    "new_device_id",
)


def report_json(report: Report) -> dict[str, object]:
    """The report as plain values. Times are UTC strings, lengths seconds, absent facts null."""
    return {**_figures(report), "devices": [device_row(device) for device in report.devices]}


def json_pieces(report: Report) -> Iterator[str]:
    """The same as text, one device per line: there may be a million, too many for memory."""
    yield json.dumps(_figures(report), ensure_ascii=False, indent=2).removesuffix("\n}")
    yield ',\n  "devices": ['
    before = "\n    "
    for device in report.devices:
        yield before + json.dumps(device_row(device), ensure_ascii=False)
        before = ",\n    "
    yield "\n  ]\n}\n" if report.devices else "]\n}\n"


def _figures(report: Report) -> dict[str, object]:
    """Everything except the devices."""
    return {
        "format": FORMAT,
        "made": stamp(report.now_s),
        "since": stamp(report.since_s),
        "until": stamp(report.until_s),
        "input": _plain(report.input),
        "notes": list(report.notes),
        "totals": _plain(report.totals),
        "by_wave": _plain(report.by_wave),
        "by_device_type": _plain(report.by_device_type),
        "by_client_family": _plain(report.by_family),
        "states_over_time": [
            {"at": stamp(point.at_s), **point.states, "users": point.users}
            for point in report.states_over_time
        ],
        "days": [
            {
                "day": stamp(one.start_s),
                "exchanges": one.exchanges,
                "devices_arriving": one.arriving,
                "reasons": one.reasons,
            }
            for one in report.days
        ],
        "reasons": _plain(report.reasons),
        "more_reasons": report.more_reasons,
        "obstacles": _plain(report.obstacles),
        "no_answer": [{"last": stamp(one.last_s), **_object(one)} for one in report.silence],
        "anonymous_callers": [
            {"last": stamp(one.last_s), **_object(one)} for one in report.anonymous
        ],
        "more_anonymous_callers": report.more_anonymous,
        "autodiscover": {
            "questions": report.discoveries.questions,
            "users_told": report.discoveries.told,
            "users_would_be_told": report.discoveries.would_be_told,
            "latest": [
                {"last": stamp(one.last_s), **_object(one)} for one in report.discoveries.shown
            ],
        },
        "waits": {
            "waves": _plain(report.waits.waves),
            "devices_that_would_end": report.waits.would_end,
            "ended_and_still_served": report.waits.unanswered,
            "latest": [{"last": stamp(one.last_s), **_object(one)} for one in report.waits.shown],
        },
        "lookups": {
            **_object(report.latency),
            "buckets": [
                {"up_to_ms": bound, "lookups": count} for bound, count in report.latency.buckets
            ],
        },
        "old_server": {
            "can_go": report.arrivals.can_go,
            "verdict": report.arrivals.verdict,
            "window_s": report.arrivals.window_s,
            "devices": report.arrivals.devices,
            "users": report.arrivals.users,
            "nameless_exchanges": report.arrivals.nameless,
            "first_last_call": stamp(report.arrivals.first_s),
            "last_call": stamp(report.arrivals.last_s),
            "earliest": stamp(report.arrivals.earliest_s),
            "still_calling": _plain(report.arrivals.still_calling),
        },
        "readiness": report.readiness,
        "target": _target(report.target),
    }


def _target(target: Target | None) -> dict[str, object] | None:
    if target is None:
        return None
    return {
        "files": target.files,
        "rows": target.rows,
        "rows_left_out": target.left_out,
        "newest": stamp(target.newest_s),
        "devices_matched": target.matched,
        "users_covered": target.users_covered,
        "strange_files": list(target.strange_files),
        "verdicts": [
            {
                "verdict": count.handover.value,
                "devices": count.devices,
                "users": count.users,
                "next_step": NEXT_STEPS[count.handover],
            }
            for count in target.counts
        ],
        "notes": list(target.notes),
    }


def device_row(device: Device) -> dict[str, object]:
    """One device as a row with the names in COLUMNS."""
    readiness, arrival = device.readiness, device.arrival
    return {
        "user": device.user,
        "device_id": device.device_id,
        "device_type": device.device_type,
        "client_family": device.family,
        "user_agent": device.user_agent,
        "state": device.state.value,
        "confirmed": device.state is LedgerState.CONFIRMED,
        "first_seen": stamp(device.first_seen_s),
        "last_seen": stamp(device.last_seen_s),
        "silent_s": device.silent_s,
        "usual_interval_s": device.usual_interval_s,
        "calls": device.calls,
        "redirects": device.redirects,
        "returns": device.returns,
        "redirected": stamp(device.redirected_s),
        "location": device.location,
        "wave": device.wave,
        "protocol_version": device.protocol_version,
        "auth_scheme": device.auth_scheme,
        "logon_format": device.logon_format,
        "last_reason": device.last_reason,
        "likely_cause": device.cause,
        "readiness": readiness.verdict.value if readiness else None,
        "readiness_rule": readiness.rule if readiness else None,
        "readiness_source": readiness.source if readiness else None,
        "findings": [finding.code for finding in device.findings],
        "verdict": arrival.handover.value if arrival else None,
        "verdict_why": arrival.why if arrival else None,
        "joined_by": arrival.joined_by if arrival else None,
        "target_last_sync": stamp(arrival.success_s) if arrival else None,
        "new_device_id": arrival.new_device_id if arrival else None,
    }


def report_csv(devices: Sequence[Device], separator: str = ",") -> Iterator[str]:
    """A header and one row per device, as in RFC 4180. Yields pieces."""
    yield from csv_rows(COLUMNS, (device_row(device) for device in devices), separator)


def csv_rows(
    columns: Sequence[str], rows: Iterator[dict[str, object]], separator: str = ","
) -> Iterator[str]:
    """Rows as CSV text; nothing in them becomes a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])
        if buffer.tell() > 1 << 16:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return printable(" ".join(map(str, value)))
        case str():
            clean = printable(value)
            begins = clean.startswith(_FORMULA) or clean.lstrip(" \xa0").startswith(_FORMULA)
            return "'" + clean if begins else clean
        case _:
            return str(value)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _object(value)


def _object(value: object) -> dict[str, object]:
    assert is_dataclass(value) and not isinstance(value, type)  # noqa: S101, PT018 - ours
    return asdict(value)
