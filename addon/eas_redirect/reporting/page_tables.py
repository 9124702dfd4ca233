"""The tables of the page, each from a part of the `Report`. Pure."""

from collections.abc import Sequence

from eas_redirect.reporting.markup import HTML, Child, tag
from eas_redirect.reporting.table import Cell, Head, table
from eas_redirect.reporting.values import Device, Group, Obstacle, ReasonRow
from eas_redirect.reporting.words import (
    REASON_TITLES,
    STATE_TITLES,
    VERDICT_TITLES,
    client_title,
    length,
    moment,
    number,
)

SHOWN = 1000  # rows of a table; a browser and a reader bear no more


def count(value: int) -> Cell:
    return Cell(shown=number(value), sort=value)


def time_cell(at_s: float | None) -> Cell:
    date, _, clock = moment(at_s).partition(" ")
    return Cell(shown=[date, tag("small", clock)], sort=at_s or 0)


def length_cell(seconds: float | None) -> Cell:
    return Cell(shown=length(seconds), sort=-1 if seconds is None else seconds)


def badge(title: str, colour: str) -> HTML:
    return tag("span", title, class_=f"badge {colour}")


def state_badge(device: Device) -> HTML:
    title = "arrived (confirmed)" if device.confirmed else STATE_TITLES[device.state]
    return badge(title, device.state.value)


def stuck_table(devices: Sequence[Device]) -> HTML:
    """Who is stuck, since when, and why that may be."""
    heads = (
        Head(title="User"),
        Head(title="Device"),
        Head(title="Client"),
        Head(title="First seen", kind="time"),
        Head(title="Redirected", kind="time"),
        Head(title="Last seen", kind="time"),
        Head(title="Came back", kind="number"),
        Head(title="Likely cause"),
    )
    rows = [
        (
            user_name(d),
            device_name(d),
            client_name(d),
            time_cell(d.first_seen_s),
            time_cell(d.redirected_s),
            time_cell(d.last_seen_s),
            count(d.returns),
            d.cause or "",
        )
        for d in devices[:SHOWN]
    ]
    return table("Devices that keep coming back after their redirect", heads, rows)


def device_table(devices: Sequence[Device]) -> HTML:
    """Every device, the most urgent first."""
    heads = (
        Head(title="User"),
        Head(title="Device"),
        Head(title="Client"),
        Head(title="State"),
        Head(title="First seen", kind="time"),
        Head(title="Last seen", kind="time"),
        Head(title="Silent for", kind="number"),
        Head(title="Usual interval", kind="number"),
        Head(title="Redirects", kind="number"),
        Head(title="Expected at the target"),
    )
    rows = [
        (
            user_name(d),
            device_name(d),
            client_name(d),
            state_badge(d),
            time_cell(d.first_seen_s),
            time_cell(d.last_seen_s),
            length_cell(d.silent_s),
            length_cell(d.usual_interval_s),
            count(d.redirects),
            readiness_text(d),
        )
        for d in devices[:SHOWN]
    ]
    return table("Devices, the most urgent first", heads, rows)


def group_table(caption: str, name: str, groups: Sequence[Group], titled: bool = False) -> HTML:
    heads = (
        Head(title=name),
        *(
            Head(title=title, kind="number")
            for title in (
                "Devices",
                "Redirected",
                "Followed (presumed)",
                "of these confirmed",
                "Came back",
                "Stuck",
            )
        ),
    )
    rows = [
        [
            Cell(shown=client_title(g.name) if titled else g.name),
            *map(count, (g.devices, g.redirected, g.followed, g.confirmed, g.returned, g.stuck)),
        ]
        for g in groups
    ]
    return table(caption, heads, rows)


def reason_table(reasons: Sequence[ReasonRow]) -> HTML:
    heads = (
        Head(title="Reason"),
        Head(title="In words"),
        Head(title="Exchanges", kind="number"),
        Head(title="Users", kind="number"),
        Head(title="Devices", kind="number"),
    )
    rows = [
        (
            tag("code", r.reason),
            REASON_TITLES.get(r.reason, ""),
            count(r.exchanges),
            count(r.users),
            count(r.devices),
        )
        for r in reasons
    ]
    return table("What was decided, and why", heads, rows)


def obstacle_table(obstacles: Sequence[Obstacle]) -> HTML:
    heads = (
        Head(title="Domain of the targetAddress"),
        Head(title="What stands in the way"),
        Head(title="Users", kind="number"),
        Head(title="Devices", kind="number"),
        Head(title="Exchanges", kind="number"),
    )
    rows = [
        (
            o.target_domain or "(not known)",
            REASON_TITLES.get(o.reason, o.reason),
            count(o.users),
            count(o.devices),
            count(o.exchanges),
        )
        for o in obstacles
    ]
    return table("Domains whose users cannot be redirected", heads, rows)


def user_name(device: Device) -> Cell:
    """An address may break before its @."""
    name, at, domain = device.user.partition("@")
    return Cell(shown=[name, tag("wbr"), at, domain], sort=device.user)


def device_name(device: Device) -> Child:
    named = device.device_id or "(not named)"
    return [tag("code", named), " ", device.device_type or ""]


def client_name(device: Device) -> Cell:
    title = client_title(device.family)
    agent = tag("small", device.user_agent) if device.user_agent else None
    return Cell(shown=[title, " ", agent], sort=title)


def readiness_text(device: Device) -> Cell:
    if device.readiness is None:
        return Cell(shown="", sort="")
    verdict = device.readiness.verdict.value
    findings = [tag("small", finding.message) for finding in device.findings]
    return Cell(
        shown=[
            badge(VERDICT_TITLES[verdict], verdict),
            tag("small", device.readiness.rule),
            findings,
        ],
        sort=VERDICT_TITLES[verdict],
    )
