"""What an administrator reads first: can the old server go, who keeps it, who is stuck. Pure."""

from eas_redirect.report import page_tables as tables
from eas_redirect.report.groups import FOLLOWED
from eas_redirect.report.markup import HTML, Child, tag
from eas_redirect.report.page_parts import cut, section
from eas_redirect.report.plots import bars
from eas_redirect.report.report_values import Report
from eas_redirect.report.words import client_title, counted, moment, number
from eas_redirect.telemetry.ledger import LedgerState

STUCK_CLIENTS = 12


def verdict(report: Report) -> HTML:
    """The answer, then who stands against it and what to do about them."""
    arrivals = report.arrivals
    times: Child = None
    if arrivals.last_s is not None:
        times = f"The last call was {moment(arrivals.last_s)} UTC."
        if arrivals.first_s is not None and arrivals.devices > 1:
            times = (
                f"Their last calls lie between {moment(arrivals.first_s)} and"
                f" {moment(arrivals.last_s)} UTC."
            )
    return tag(
        "section",
        tag("h2", "Can the old server go?"),
        tag("p", arrivals.verdict, class_="answer"),
        tag("p", times, class_="aside") if times else None,
        tables.still_calling_table(arrivals.still_calling) if arrivals.still_calling else None,
        class_="verdict go" if arrivals.can_go else "verdict",
    )


def tiles(report: Report) -> HTML:
    totals = report.totals
    stuck = totals.states.get(LedgerState.STUCK, 0)
    returned = totals.states.get(LedgerState.RETURNED, 0)
    followed = sum(totals.states.get(state, 0) for state in FOLLOWED)
    rows: tuple[tuple[str, int, str, str], ...] = (
        ("Devices seen", totals.devices, f"of {counted(totals.users, 'user')}", ""),
        (
            "Redirected",
            totals.devices_redirected,
            f"of {counted(totals.users_redirected, 'user')}, {counted(totals.redirects, 'time')}",
            "redirected",
        ),
        (
            "Followed",
            followed,
            f"of {counted(totals.users_followed, 'user')}, presumed from silence;"
            f" {number(totals.devices_confirmed)} seen at the target",
            "quiet",
        ),
        (
            "Came back",
            returned,
            f"of {counted(totals.users_returned, 'user')}; not often enough to be stuck",
            "returned",
        ),
        ("Stuck", stuck, f"of {counted(totals.users_stuck, 'user')}", "stuck"),
    )
    if totals.would_redirects:
        would = ("Would redirect", totals.would_redirects, "answers, in observe mode", "")
        rows = (*rows, would)
    shown = [
        tag(
            "div",
            tag("dt", title),
            tag("dd", number(value)),
            tag("p", words),
            class_=f"tile {colour}",
        )
        for title, value, words, colour in rows
    ]
    return tag(
        "section", tag("h2", "In figures", class_="hidden"), tag("dl", shown, class_="tiles")
    )


def stuck(report: Report) -> HTML:
    found = [device for device in report.devices if device.state is LedgerState.STUCK]
    title = "Who is stuck"
    if not found:
        return section(title, "Nobody.")
    clients = [
        (client_title(group.name), group.stuck, "stuck")
        for group in report.by_family
        if group.stuck
    ]
    clients.sort(key=lambda row: -row[1])
    return section(
        title,
        "Came back three times or more, over at least ten minutes.",
        tables.stuck_table(found),
        cut(len(found)),
        bars("Stuck devices by client", clients[:STUCK_CLIENTS]),
    )


def obstacles(report: Report) -> HTML | None:
    if not report.obstacles:
        return None
    return section(
        "What stands in the way",
        "These users have moved, and their devices were left alone all the same.",
        tables.obstacle_table(report.obstacles),
    )
