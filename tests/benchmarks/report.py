"""Figures as a table, JSON, SVG, and the generated part of docs/performance.md."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.bench import SCENARIOS, Row
from tests.benchmarks.subjects import ADDON, BARE, CARRIED, PLAIN, RUN, WORKERS

BEGIN, END = "<!-- made by make bench -->", "<!-- end -->"
HEAD = (
    f"  {'':<36}{'req/s':>8}{'ratio':>8}{'p50 ms':>8}{'p99 ms':>9}"
    f"{'CPU ms':>8}{'ratio':>7}{'MiB':>6}"
)
COLOURS = {
    BARE: "#9aa5b1",
    ADDON: "#2b6cb0",
    RUN: "#2f855a",
    WORKERS: "#276749",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What it ran on, as far as it matters."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    mitmproxy: str

    def sentence(self) -> str:
        return (
            f"{self.cores} cores ({self.cpu}), {self.memory_gib:.0f} GiB, {self.system}, "
            f"Python {self.python}, mitmproxy {self.mitmproxy}."
        )


def machine() -> Machine:
    model = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    total = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "x 0")
    return Machine(
        cpu=model[0].partition(":")[2].strip() if model else platform.processor() or "unknown",
        cores=len(os.sched_getaffinity(0)),
        memory_gib=int(total.split()[1]) / 2**20,
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        mitmproxy=version("mitmproxy"),
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8", "replace").splitlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure to reach, what was measured, and whether it is reached."""

    what: str
    wanted: str
    measured: str
    reached: bool


def figures(
    rows: Sequence[Row], functions: dict[str, float], waiting: Mapping[str, float]
) -> list[Figure]:
    """The figures this project set itself. `functions` holds microseconds by name, `waiting` what a
    waiting phone takes with HAProxy, to what it takes with `run`."""
    at = {(row.scenario, row.subject): row for row in rows}
    idle, other = at["nothing_to_redirect", ADDON], at["not_eas", ADDON]
    run, one = at["nothing_to_redirect", RUN], at["one_connection", RUN]
    two = at["nothing_to_redirect", WORKERS].rate / run.rate
    carried, redirected = at["nothing_to_redirect", CARRIED], at["every_answer", CARRIED]
    found = [
        _least("addon, nothing to redirect: throughput to bare mitmdump's", 0.97, idle.rate_ratio),
        _most("addon, nothing to redirect: CPU of a request", 1.03, idle.cpu_ratio),
        _least("addon, not EAS: throughput", 0.97, other.rate_ratio),
        _most("addon, not EAS: CPU of a request", 1.03, other.cpu_ratio),
        _least("`eas-redirect run`: throughput to bare mitmdump's", 1.7, run.rate_ratio),
        _most("`eas-redirect run`, one connection: p99 to bare mitmdump's", 0.333, one.p99_ratio),
        _least("two workers: throughput to one's", 1.6, two),
        _least("HAProxy and a judge: throughput to `run`'s", 7.0, carried.rate / run.rate),
        _least("HAProxy and a judge, every answer redirected: a second", 2500.0, redirected.rate),
        _least(
            "HAProxy and a judge: TLS connections to `run`'s",
            4.0,
            at["handshakes", CARRIED].rate / at["handshakes", RUN].rate,
        ),
        _least(
            "HAProxy and a judge, nothing to redirect: throughput to that without a judge",
            0.7,
            carried.rate / at["nothing_to_redirect", PLAIN].rate,
        ),
        _least(
            "HAProxy and a judge, every tenth redirected: throughput to that without a judge",
            0.5,
            at["every_tenth", CARRIED].rate / at["every_tenth", PLAIN].rate,
        ),
        _most(
            "HAProxy and a judge, one connection: p99 to that without a judge",
            1.5,
            at["one_connection", CARRIED].p99_ms / at["one_connection", PLAIN].p99_ms,
        ),
    ]
    found += [
        _most(f"HAProxy and a judge, a waiting phone, {legs}: memory to `run`'s", limit, share)
        for legs, limit, share in (
            ("TLS on both legs", 0.333, waiting.get("TLS on both legs")),
            ("http on both legs", 0.2, waiting.get("http on both legs")),
        )
        if share is not None
    ]
    found += [
        _most(what, limit, functions[name], " µs")
        for name, what, limit in (
            ("redirect_beyond_pass", "a warm redirect beyond the pass", 150.0),
            ("wbxml_15_bytes", "WBXML, an answer of 15 bytes", 20.0),
            ("wbxml_64_kib", "WBXML, 64 KiB", 10_000.0),
        )
        if name in functions
    ]
    return found


def _least(what: str, wanted: float, measured: float) -> Figure:
    reached = measured >= wanted
    return Figure(what=what, wanted=f"≥ {wanted:g}", measured=f"{measured:.2f}", reached=reached)


def _most(what: str, wanted: float, measured: float, unit: str = "") -> Figure:
    shown = f"{measured:.2f}" if measured < 10 else f"{measured:.0f}"
    return Figure(
        what=what,
        wanted=f"≤ {wanted:g}{unit}",
        measured=shown + unit,
        reached=measured <= wanted,
    )


def table(rows: Sequence[Row]) -> str:
    """For a terminal."""
    lines = []
    for scenario in SCENARIOS:
        lines.append(f"\n{scenario.title}")
        lines.append(HEAD)
        lines += [
            f"  {r.subject:<36}{r.rate:>8.0f}{r.rate_ratio:>8.2f}{r.p50_ms:>8.2f}{r.p99_ms:>9.2f}"
            f"{r.cpu_ms:>8.3f}{r.cpu_ratio:>7.2f}{r.memory_mib:>6.0f}"
            for r in rows
            if r.scenario == scenario.name
        ]
    return "\n".join(lines)


def as_json(
    rows: Sequence[Row],
    functions: dict[str, float],
    waiting: Mapping[str, float],
    rounds: int,
    seconds: int,
) -> dict[str, object]:
    return {
        "machine": asdict(machine()),
        "rounds": rounds,
        "seconds": seconds,
        "rows": [asdict(row) for row in rows],
        "functions_us": functions,
        "waiting": dict(waiting),
        "figures": [asdict(figure) for figure in figures(rows, functions, waiting)],
    }


def markdown(
    rows: Sequence[Row],
    functions: dict[str, float],
    waiting: Mapping[str, float],
    rounds: int,
    seconds: int,
) -> str:
    """The generated part of docs/performance.md."""
    lines = [
        f"Measured on {datetime.now(UTC):%d %B %Y} on {machine().sentence()} {rounds} rounds",
        f"of {seconds} s for each subject, in",
        "turn; medians. Ratios are to bare mitmdump in the same round.",
        "",
        "| figure | wanted | measured | |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {f.what} | {f.wanted} | {f.measured} | {_verdict(f)} |"
        for f in figures(rows, functions, waiting)
    ]
    for scenario in SCENARIOS:
        lines += ["", f"**{scenario.title}**", ""]
        lines.append("| | requests/s | ratio | p50 ms | p99 ms | CPU ms/request | ratio | MiB |")
        lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        lines += [
            f"| {r.subject} | {r.rate:.0f} | {r.rate_ratio:.2f} | {r.p50_ms:.2f} | {r.p99_ms:.2f} "
            f"| {r.cpu_ms:.3f} | {r.cpu_ratio:.2f} | {r.memory_mib:.0f} |"
            for r in rows
            if r.scenario == scenario.name
        ]
    lines += ["", "**Functions** (median, one call)", "", "| | µs |", "| --- | ---: |"]
    lines += [f"| {name.replace('_', ' ')} | {us:.1f} |" for name, us in functions.items()]
    return "\n".join(lines)


def _verdict(figure: Figure) -> str:
    return "reached" if figure.reached else "**not reached**"


def put_into(path: Path, text: str) -> None:
    """Replaces what stands between the markers of a document."""
    before, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no {BEGIN} … {END}")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def svg(rows: Sequence[Row]) -> str:
    """Requests/s of all but those with HAProxy, which is another order of magnitude, as bars."""
    shown = [row for row in rows if row.subject in COLOURS]
    most = max((row.rate for row in shown), default=1.0) or 1.0
    parts, y = [], 46
    for scenario in SCENARIOS:
        parts.append(_text(10, y, scenario.title, "bold"))
        y += 8
        for row in (row for row in shown if row.scenario == scenario.name):
            width = 400 * row.rate / most
            parts.append(
                f'<rect x="210" y="{y}" width="{width:.1f}" height="13" '
                f'fill="{COLOURS[row.subject]}"/>'
            )
            parts.append(_text(204, y + 11, row.subject, anchor="end"))
            parts.append(_text(215 + width, y + 11, f"{row.rate:.0f}"))
            y += 17
        y += 22
    title = _text(10, 20, "Requests per second, more is better", "bold")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {y}" width="680" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
        f"{title}{''.join(parts)}</svg>\n"
    )


def _text(x: float, y: float, text: str, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
