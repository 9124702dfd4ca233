"""Who arrived at the target: a count for each verdict, and lists of who needs a person. Pure."""

from eas_redirect.report.handover import NEXT_STEPS, TITLES
from eas_redirect.report.markup import HTML
from eas_redirect.report.page_parts import cut, section
from eas_redirect.report.page_tables import SHOWN, count, time_cell
from eas_redirect.report.report_values import Device, Handover, Report
from eas_redirect.report.table import Head, table
from eas_redirect.report.words import client_title, counted, moment

_DONE = frozenset({Handover.CONFIRMED, Handover.ELSEWHERE})
_HEADS = (
    *(Head(title="User"), Head(title="Device"), Head(title="Client"), Head(title="Why")),
    *(Head(title="Redirected", kind="time"), Head(title="Last call here", kind="time")),
)


def handover(report: Report) -> HTML | None:
    target = report.target
    if target is None:
        return None
    rows = [
        (TITLES[row.handover], count(row.devices), count(row.users), NEXT_STEPS[row.handover])
        for row in target.counts
    ]
    heads = (
        Head(title="Verdict"),
        Head(title="Devices", kind="number"),
        Head(title="Users", kind="number"),
        Head(title="What to do"),
    )
    reach = f", and reach to {moment(target.newest_s)} UTC" if target.newest_s is not None else ""
    return section(
        "Who arrived",
        f"By the target's own lists: {counted(target.files, 'file')} of"
        f" {counted(target.rows, 'device')}{reach}.",
        table("Verdicts", heads, rows),
        [_list(report.devices, verdict) for verdict in Handover if verdict not in _DONE],
    )


def _list(devices: tuple[Device, ...], verdict: Handover) -> list[HTML | None] | None:
    found = [one for one in devices if one.arrival and one.arrival.handover is verdict]
    if not found:
        return None
    rows = [
        (
            device.user,
            device.device_id or "",
            client_title(device.family),
            device.arrival.why if device.arrival else "",
            time_cell(device.redirected_s),
            time_cell(device.last_seen_s),
        )
        for device in found[:SHOWN]
    ]
    return [table(f"{TITLES[verdict].capitalize()}", _HEADS, rows), cut(len(found))]
