"""The lab's outcome: two tables that need no knowledge of the code, or one JSON value."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from eas_redirect.lab.outcome import CONFIRMED, SENT_ON, Row

TABLE_WIDTH = 110  # columns that a table needs; below it the same comes in paragraphs

INTRODUCTION = """\
[bold]mail.contoso.example[/] is an old Exchange server (a stand-in). Most of its mailboxes have
moved away, but phones still call it, and all that it can say is that there is no mailbox.
In front of it runs a real [bold]mitmdump with eas-redirect[/]. These people's phones asked for
their mail through it, over TLS.
"""
LEGEND = """\
200, status 123  is Exchange's way to say UserHasNoMailbox. Very old phones, and a phone's first
                 question what the server can do, get a 403, which alone can mean many things.
451 → name       tells the phone that its mailbox is on that server from now on.
the same         is what Exchange said, unchanged in every byte.
"""
CONFIRMED_LEGEND = """\
confirmed        is when the proxy, on the way to the new server too, has seen the phone arrive.
"""


def print_outcome(console: Console, rows: Sequence[Row], journal: Path) -> None:
    """Who was sent on, who was left alone, and whether all of it was as it should be."""
    console.print(INTRODUCTION)
    sent_on = [row for row in rows if row.reason == SENT_ON]
    left_alone = [row for row in rows if row.reason != SENT_ON]
    console.print(_group(console, f"Sent on to their new server ({SENT_ON})", sent_on))
    console.print(_group(console, "Left alone", left_alone))
    confirmed = any(CONFIRMED in row.device_got for row in rows)
    console.print(LEGEND + (CONFIRMED_LEGEND if confirmed else ""), style="dim", highlight=False)
    for row in rows:
        for problem in row.problems:
            console.print(f"[bold red]{escape(row.who)}: {escape(problem)}[/]")
    good = sum(row.as_expected for row in rows)
    colour = "green" if good == len(rows) else "red"
    console.print(f"[bold {colour}]{good} of {len(rows)} as expected.[/]")
    where = escape(str(journal))
    console.print(f"The journal has a line for each request: {where}", soft_wrap=True)


def _group(console: Console, title: str, rows: Sequence[Row]) -> RenderableType:
    if console.width >= TABLE_WIDTH:
        return _table(title, rows)
    return Group(f"[bold]{title}[/]\n", *(_paragraph(row) for row in rows))


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(
        title=f"{title}\n",
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 2, 0, 0),
    )
    headers = ("Who", "What is the matter", "Exchange said", "The phone got", "Why", "Expected")
    for header in headers:
        matter = header == "What is the matter"
        table.add_column(header, ratio=1 if matter else None, no_wrap=not matter)
    for row in rows:
        texts = (row.story, row.exchange_said, row.device_got, row.reason)
        table.add_row(_who(row), *(escape(text) for text in texts), _verdict(row))
    table.add_row()
    if all(row.reason == SENT_ON for row in rows):
        del table.columns[headers.index("Why")]  # The title says it.
    return table


def _paragraph(row: Row) -> str:
    """The same for a narrow terminal."""
    answers = f"Exchange said {row.exchange_said}; the phone got {row.device_got}."
    why = f"{row.reason}; as expected: {_verdict(row)}"
    return f"{_who(row)}: {escape(row.story)}\n  {escape(answers)}\n  {why}\n"


def _who(row: Row) -> str:
    return f"{escape(row.who)} [dim]({escape(row.device)})[/]"


def _verdict(row: Row) -> str:
    return "[green]yes[/]" if row.as_expected else "[bold red]NO[/]"


def to_json(rows: Sequence[Row], journal: Path) -> dict[str, object]:
    """The same facts for programs, in plain JSON types."""
    return {
        "as_expected": all(row.as_expected for row in rows),
        "journal": str(journal),
        "people": [{**asdict(row), "as_expected": row.as_expected} for row in rows],
    }
