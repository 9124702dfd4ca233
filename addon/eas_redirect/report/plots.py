"""Plots as figures that the page draws: stacked columns over time and bars by name. Pure; colours
are classes of the page.

Each plot also says in words what it shows, for screen readers; the figures are next to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal

from eas_redirect.telemetry.printable import number

WIDTH, HEIGHT = 960, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 10, 24
TICKS_X, TICKS_Y = 8, 4
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle of a plot; `title` is shown when the pointer is over it."""

    x: str
    y: str
    width: str
    height: str
    colour: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotText:
    """A label of a plot, and the grid line that belongs to it (`y`), if any."""

    text: str
    x: str
    y: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackedPlot:
    """Columns over time, the series stacked from the bottom. `said`: the same in words."""

    part: Literal["plot"] = "plot"
    title: str
    said: str
    boxes: tuple[Box, ...]
    scale: tuple[PlotText, ...]
    dates: tuple[PlotText, ...]
    series: tuple[Series, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBar:
    """A bar: its share of the longest one, in per cent."""

    label: str
    value: int
    share: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BarPlot:
    """Bars by name."""

    part: Literal["bars"] = "bars"
    title: str
    bars: tuple[NamedBar, ...]


def stacked(title: str, series: Sequence[Series], columns: Sequence[Column]) -> StackedPlot:
    top = _nice(max((sum(column.values) for column in columns), default=0))
    pitch = (WIDTH - LEFT - RIGHT) / max(1, len(columns))
    width = min(pitch * 0.86, 48.0)
    boxes: list[Box] = []
    for index, column in enumerate(columns):
        x = LEFT + index * pitch + (pitch - width) / 2
        boxes += _stack(x, width, top, series, column)
    return StackedPlot(
        title=title,
        said=_in_words(series, columns),
        boxes=tuple(boxes),
        scale=tuple(_scale(top)),
        dates=tuple(_dates(columns, pitch)),
        series=tuple(series),
    )


def bars(title: str, rows: Sequence[tuple[str, int, str]]) -> BarPlot:
    """Label, value, class of the colour."""
    top = max((value for _, value, _ in rows), default=0) or 1
    return BarPlot(
        title=title,
        bars=tuple(
            NamedBar(label=label, value=value, share=_short(100 * value / top), colour=colour)
            for label, value, colour in rows
        ),
    )


def _stack(
    x: float, width: float, top: int, series: Sequence[Series], column: Column
) -> Iterator[Box]:
    y = float(HEIGHT - BOTTOM)
    for one, value in zip(series, column.values, strict=True):
        height = (HEIGHT - TOP - BOTTOM) * value / top
        y -= height
        if value:
            yield Box(
                x=_short(x),
                y=_short(y),
                width=_short(width),
                height=_short(height),
                colour=one.colour,
                title=f"{column.label}: {one.title} {number(value)}",
            )


def _scale(top: int) -> Iterator[PlotText]:
    for step in range(TICKS_Y + 1):
        value = top * step / TICKS_Y
        if value == int(value):
            y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * step / TICKS_Y
            yield PlotText(text=number(int(value)), x=_short(LEFT - 8), y=_short(y))


def _dates(columns: Sequence[Column], pitch: float) -> Iterator[PlotText]:
    every = max(1, ceil(len(columns) / TICKS_X))
    for index, column in enumerate(columns):
        x = LEFT + (index + 0.5) * pitch
        if index % every == 0 and x < WIDTH - EDGE:
            yield PlotText(text=column.label, x=_short(x), y=_short(HEIGHT - 6))


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _in_words(series: Sequence[Series], columns: Sequence[Column]) -> str:
    """The last column: the result of a plot over time."""
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
