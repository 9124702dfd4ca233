"""One table of the page: sortable by its heads, readable without a script. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eas_redirect.report.markup import HTML, Child, tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A column: `kind` says how it sorts and where it stands."""

    title: str
    kind: Literal["text", "number", "time"] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell shows, and by which value it sorts when that is another."""

    shown: Child
    sort: str | float | None = None


def table(caption: str, heads: Sequence[Head], rows: Sequence[Sequence[Cell | Child]]) -> HTML:
    """A table with its caption; heads become buttons by the page's script."""
    titles = [tag("th", head.title, scope="col", data_kind=head.kind) for head in heads]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", titles)),
            tag("tbody", [_row(heads, row) for row in rows]),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def _row(heads: Sequence[Head], row: Sequence[Cell | Child]) -> HTML:
    return tag("tr", [_cell(head, cell) for head, cell in zip(heads, row, strict=True)])


def _cell(head: Head, cell: Cell | Child) -> HTML:
    whole = cell if isinstance(cell, Cell) else Cell(shown=cell)
    sort = None if whole.sort is None else str(whole.sort)
    return tag("td", whole.shown, class_=None if head.kind == "text" else head.kind, data_sort=sort)
