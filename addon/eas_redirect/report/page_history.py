"""How it came about: states, arrivals and decisions, day by day. Pure."""

from collections.abc import Sequence

from eas_redirect.report import page_tables as tables
from eas_redirect.report.markup import HTML, tag
from eas_redirect.report.page_parts import section
from eas_redirect.report.plots import Column, Series, legend, stacked
from eas_redirect.report.report_values import DAY_MS, SHOWN_DAYS, STATES, Day, Report
from eas_redirect.report.table import Cell, Head, table
from eas_redirect.report.words import STATE_TITLES, day, number

_STATE_SERIES = tuple(Series(title=STATE_TITLES[s], colour=s.value) for s in STATES)
_DAY_S = DAY_MS / 1000


def states(report: Report) -> HTML | None:
    if not report.states_over_time:
        return None
    columns = [
        Column(label=day(point.at_s - 0.001), values=tuple(point.states[s.value] for s in STATES))
        for point in report.states_over_time
    ]
    users = [
        Column(label=column.label, values=tuple(point.users[s.value] for s in STATES))
        for column, point in zip(columns, report.states_over_time, strict=True)
    ]
    title = "Devices by state over time"
    return section(
        title,
        "At the end of each day, UTC. Silence is judged by each device's own usual interval:"
        " whoever is silent for three of them, and an hour at least, is presumed to have followed.",
        stacked(title, _STATE_SERIES, columns),
        legend(_STATE_SERIES),
        _figures(title, _STATE_SERIES, columns),
        _figures("Users, each by the worst of their devices", _STATE_SERIES, users),
    )


def arrivals(report: Report) -> HTML | None:
    if not report.days:
        return None
    series = (Series(title="devices that called the old server", colour="c0"),)
    columns = [
        Column(label=day(one.start_s), values=(one.arriving,)) for one in each_day(report.days)
    ]
    title = "Devices still calling the old server"
    return section(
        title,
        "Distinct devices of each day, UTC, without Exchange's own probes.",
        stacked(title, series, columns),
        _figures(title, series, columns),
    )


def decisions(report: Report) -> HTML | None:
    if not report.days:
        return None
    names = sorted({reason for one in report.days for reason in one.reasons})
    order = {row.reason: index for index, row in enumerate(report.reasons)}
    names.sort(key=lambda name: order.get(name, len(order)))
    series = [Series(title=name, colour=f"c{index}") for index, name in enumerate(names)]
    columns = [
        Column(label=day(one.start_s), values=tuple(one.reasons.get(name, 0) for name in names))
        for one in each_day(report.days)
    ]
    title = "Decisions by reason over time"
    more = ""
    if report.more_reasons:
        more = f"{number(report.more_reasons)} more distinct reasons are not listed."
    return section(
        title,
        "Exchanges of each day, UTC, and why each was redirected or passed.",
        stacked(title, series, columns),
        legend(series),
        tables.reason_table(report.reasons),
        tag("p", more, class_="aside") if more else None,
        _figures(title, series, columns),
    )


def _figures(title: str, series: Sequence[Series], columns: Sequence[Column]) -> HTML:
    """A plot's figures for those who cannot see it, and for those who want to copy them."""
    heads = (Head(title="Day"), *(Head(title=s.title, kind="number") for s in series))
    rows = [[Cell(shown=c.label), *map(tables.count, c.values)] for c in columns]
    return tag("details", tag("summary", f"The figures: {title}"), table(title, heads, rows))


def each_day(days: Sequence[Day]) -> tuple[Day, ...]:
    """With the days on which nothing was written, which a plot must show too; of the last
    `SHOWN_DAYS`."""
    if not days:
        return ()
    known = {one.start_s: one for one in days}
    count = min(SHOWN_DAYS, int((days[-1].start_s - days[0].start_s) / _DAY_S) + 1)
    moments = (days[-1].start_s - n * _DAY_S for n in reversed(range(count)))
    return tuple(
        known.get(at, Day(start_s=at, exchanges=0, arriving=0, reasons={})) for at in moments
    )
