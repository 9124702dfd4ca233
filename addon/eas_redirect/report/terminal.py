"""The report in a few lines for a terminal. Imports rich."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eas_redirect.report.handover import NEXT_STEPS, TITLES
from eas_redirect.report.report_values import STATES, Device, Report, Target, WaitsOfWave
from eas_redirect.report.words import (
    STATE_TITLES,
    client_title,
    counted,
    meaning,
    moment,
    what_to_do,
    whole_seconds,
)
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.printable import number, printable

SHOWN = 20


def print_summary(console: Console, report: Report) -> None:
    """States, who is stuck, what stands in the way, and whether the old server can go."""
    totals = report.totals
    if report.since_s is not None:
        console.print(f"{moment(report.since_s)} to {moment(report.until_s)} UTC")
    console.print(
        f"{counted(totals.exchanges, 'exchange')} of {counted(totals.devices, 'device')} of"
        f" {counted(totals.users, 'user')}; {counted(totals.redirects, 'redirect')}"
    )
    console.print(_states(report))
    stuck = [device for device in report.devices if device.state is LedgerState.STUCK]
    if stuck:
        console.print(_stuck(stuck))
    console.print()
    for obstacle in report.obstacles[:SHOWN]:
        console.print(
            f"{obstacle.reason}: {obstacle.target_domain or '(domain not known)'}"
            f" ({counted(obstacle.users, 'user')})",
            markup=False,
        )
    asked = report.discoveries
    if asked.questions:
        told = f"Autodiscover told {counted(asked.told, 'user')} the new server"
        would = f"; it would have told {number(asked.would_be_told)}" if asked.would_be_told else ""
        console.print(f"Accounts that were added again: {told}{would}")
    for wave in report.waits.waves:
        console.print(
            f"Waits ended, {wave.wave}: {counted(wave.devices, 'device')},"
            f" {number(wave.redirected)} redirected{_within(wave)}",
            markup=False,
        )
    if report.waits.unanswered:
        served = counted(report.waits.unanswered, "device")
        console.print(f"Ended, and Exchange does not know yet: {served}")
    if report.target is not None:
        console.print(_verdicts(report.target))
    console.print()
    console.print(f"Can the old server go? {report.arrivals.verdict}")
    if report.arrivals.still_calling:
        console.print(_still_calling(report))


def _within(wave: WaitsOfWave) -> str:
    if wave.p99_s is None or wave.longest_s is None:
        return ""
    if wave.is_of_few:
        return f", the longest after {whole_seconds(wave.longest_s)}"
    return f", 99 % within {whole_seconds(wave.p99_s)}"


def _states(report: Report) -> Table:
    table = Table(box=None)
    table.add_column("State")
    table.add_column("Devices", justify="right")
    for state in STATES:
        table.add_row(STATE_TITLES[state], number(report.totals.states.get(state, 0)))
    return table


def _verdicts(target: Target) -> Table:
    table = Table(box=None)
    for head in ("At the target", "Devices", "Users", "What to do"):
        table.add_column(head)
    for count in target.counts:
        cells = (number(count.devices), number(count.users), NEXT_STEPS[count.handover])
        table.add_row(TITLES[count.handover], *cells)
    return table


def _still_calling(report: Report) -> Table:
    table = Table(box=None)
    table.add_column("Devices", justify="right")
    for head in ("Why they still call", "What to do"):
        table.add_column(head)
    for row in report.arrivals.still_calling[:SHOWN]:
        cells = (number(row.devices), meaning(row.why), what_to_do(row.why))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _stuck(stuck: list[Device]) -> Table:
    table = Table(title=f"Stuck ({number(len(stuck))})", title_justify="left", box=None)
    for head in ("User", "Device", "Client", "Last seen", "Came back", "Likely cause"):
        table.add_column(head, no_wrap=head in ("User", "Device"), overflow="fold")
    for device in stuck[:SHOWN]:
        cells = (
            device.user,
            device.device_id or "",
            client_title(device.family),
            moment(device.last_seen_s),
            number(device.returns),
            device.cause or "",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
