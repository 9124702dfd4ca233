"""Plots as SVG: stacked columns over time and bars by name. Pure; colours are classes of the page.

Each plot says in words what it shows, for those who hear it; the figures stand beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from eas_redirect.report.markup import HTML, tag
from eas_redirect.telemetry.printable import number

WIDTH, HEIGHT = 960, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 10, 24
TICKS_X, TICKS_Y = 8, 4
ROW = 26  # pixels of one bar by name
LABEL = 250
EDGE = 40  # where a date would be cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One colour of a plot: its title and the class of its colour."""

    title: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One moment: its label, and a value for each series."""

    label: str
    values: tuple[int, ...]


def stacked(title: str, series: Sequence[Series], columns: Sequence[Column]) -> HTML:
    """Columns over time, the series on one another from the bottom."""
    top = _nice(max((sum(column.values) for column in columns), default=0))
    inner = WIDTH - LEFT - RIGHT
    pitch = inner / max(1, len(columns))
    width = min(pitch * 0.86, 48.0)
    shapes: list[HTML] = []
    for index, column in enumerate(columns):
        x = LEFT + index * pitch + (pitch - width) / 2
        shapes.append(_stack(x, width, top, series, column))
    return tag(
        "svg",
        tag("title", title),
        _grid(top),
        shapes,
        _dates(columns, pitch),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}. {_in_words(series, columns)}",
        class_="plot",
    )


def bars(title: str, rows: Sequence[tuple[str, int, str]]) -> HTML:
    """Bars by name: label, value, class of the colour."""
    top = max((value for _, value, _ in rows), default=0) or 1
    height = ROW * len(rows) + 4
    span = WIDTH - LABEL - 90
    shapes = [
        tag(
            "g",
            tag("text", label, x=LABEL - 10, y=y + 16, class_="end"),
            _bar(y, span * value / top, colour),
            tag("text", number(value), x=LABEL + span * value / top + 8, y=y + 16),
        )
        for y, (label, value, colour) in zip(range(0, height, ROW), rows, strict=False)
    ]
    said = ", ".join(f"{label}: {number(value)}" for label, value, _ in rows[:20])
    return tag(
        "svg",
        tag("title", title),
        shapes,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=f"{title}. {said}",
        class_="plot bars",
    )


def _bar(y: int, width: float, colour: str) -> HTML:
    return tag("rect", x=LABEL, y=y + 4, width=width, height=16, rx=3, class_=colour)


def legend(series: Sequence[Series]) -> HTML:
    items = [tag("li", tag("span", class_=f"key {s.colour}"), s.title) for s in series]
    return tag("ul", items, class_="legend")


def _stack(x: float, width: float, top: int, series: Sequence[Series], column: Column) -> HTML:
    y = float(HEIGHT - BOTTOM)
    parts: list[HTML] = []
    for one, value in zip(series, column.values, strict=True):
        height = (HEIGHT - TOP - BOTTOM) * value / top
        y -= height
        if value:
            parts.append(
                tag(
                    "rect",
                    tag("title", f"{column.label}: {one.title} {number(value)}"),
                    x=x,
                    y=y,
                    width=width,
                    height=height,
                    class_=one.colour,
                )
            )
    return tag("g", parts)


def _grid(top: int) -> HTML:
    lines: list[HTML] = []
    for step in range(TICKS_Y + 1):
        value = top * step / TICKS_Y
        if value != int(value):
            continue
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * step / TICKS_Y
        lines.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        lines.append(tag("text", number(int(value)), x=LEFT - 8, y=y + 4, class_="end"))
    return tag("g", lines, aria_hidden="true")


def _dates(columns: Sequence[Column], pitch: float) -> HTML:
    every = max(1, ceil(len(columns) / TICKS_X))
    labels = [
        tag("text", column.label, x=LEFT + (index + 0.5) * pitch, y=HEIGHT - 6, class_="middle")
        for index, column in enumerate(columns)
        if index % every == 0 and LEFT + (index + 0.5) * pitch < WIDTH - EDGE
    ]
    return tag("g", labels, aria_hidden="true")


def _in_words(series: Sequence[Series], columns: Sequence[Column]) -> str:
    """The last column, which is what a plot over time leads to."""
    if not columns:
        return "Nothing to show."
    last = columns[-1]
    said = ", ".join(
        f"{one.title} {number(value)}" for one, value in zip(series, last.values, strict=True)
    )
    return f"At {last.label}: {said}."


def _nice(value: int) -> int:
    """The next round number, with room for TICKS_Y even ticks."""
    if value <= TICKS_Y:
        return TICKS_Y
    step = int(10 ** floor(log10(value / TICKS_Y)))
    tops = (ceil(step * factor) * TICKS_Y for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5))
    return next((top for top in tops if top >= value), step * 10 * TICKS_Y)
