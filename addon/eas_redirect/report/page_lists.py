"""Everything by kind: groups, readiness, look-ups, and the devices one by one. Pure."""

from collections.abc import Callable

from eas_redirect.report import page_tables as tables
from eas_redirect.report.markup import HTML
from eas_redirect.report.page_parts import cut, section
from eas_redirect.report.plots import bars
from eas_redirect.report.report_values import Report
from eas_redirect.report.words import (
    NAMELESS,
    VERDICT_TITLES,
    client_title,
    counted,
    milliseconds,
    number,
)


def groups(report: Report) -> HTML | None:
    if not report.devices:
        return None
    waves = any(group.name != NAMELESS for group in report.by_wave)
    return section(
        "By wave, device type and client" if waves else "By device type and client",
        None,
        tables.group_table("By wave", "Wave", report.by_wave, _unless("no wave"))
        if waves
        else None,
        tables.group_table(
            "By device type", "Device type", report.by_device_type, _unless("not said")
        ),
        tables.group_table("By client", "Client", report.by_family, client_title),
    )


def _unless(nameless: str) -> Callable[[str], str]:
    return lambda name: nameless if name == NAMELESS else name


def readiness(report: Report) -> HTML | None:
    judged = sum(report.readiness.values())
    if not judged:
        return None
    rows = [
        (VERDICT_TITLES[verdict], value, verdict) for verdict, value in report.readiness.items()
    ]
    return section(
        "What awaits them at the target",
        "Exchange Online refuses ActiveSync below 16.1 since March 2026 and passwords since October"
        " 2022. The old server cannot tell what a phone speaks elsewhere: the client and its system"
        " do. Each device below has its rule.",
        bars("Devices by what they are to expect", rows),
    )


def discoveries(report: Report) -> HTML | None:
    asked = report.discoveries
    if not asked.shown:
        return None
    return section(
        "Accounts that were added again",
        f"Autodiscover told {counted(asked.told, 'user')} the new server, and would have told"
        f" {number(asked.would_be_told)} in observe mode.",
        tables.discovery_table(asked.shown),
    )


def latency(report: Report) -> HTML | None:
    latency = report.latency
    if not latency.lookups:
        return None
    rows = [
        (f"up to {bound:g} ms" if bound is not None else "longer", count, "c1")
        for bound, count in latency.buckets
        if count
    ]
    told = ", ".join(f"{name} {number(count)}" for name, count in latency.by_cache.items())
    return section(
        "How long look-ups took",
        f"{counted(latency.lookups, 'look-up')}: half within {milliseconds(latency.p50_ms)}, 95 %"
        f" within {milliseconds(latency.p95_ms)}, 99 % within {milliseconds(latency.p99_ms)},"
        f" the longest {milliseconds(latency.max_ms)}. From the cache or not: {told}.",
        bars("Look-ups by length", rows),
    )


def devices(report: Report) -> HTML | None:
    if not report.devices:
        return None
    return section(
        "Devices",
        None,
        tables.device_table(report.devices),
        cut(len(report.devices)),
    )
