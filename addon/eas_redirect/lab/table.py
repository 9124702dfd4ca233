"""The lab's outcome: two tables that need no knowledge of the code, or one JSON value."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

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
    console.print(Text.from_markup(INTRODUCTION))
    sent_on = [row for row in rows if row.reason == SENT_ON]
    left_alone = [row for row in rows if row.reason != SENT_ON]
    console.print(_group(console, f"Sent on to their new server ({SENT_ON})", sent_on))
    console.print(_group(console, "Left alone", left_alone))
    confirmed = any(CONFIRMED in row.device_got for row in rows)
    console.print(Text(LEGEND + (CONFIRMED_LEGEND if confirmed else ""), "dim"))
    for row in rows:
        for problem in row.problems:
            console.print(Text(f"{row.who}: {problem}", "bold red"))
    good = sum(row.as_expected for row in rows)
    colour = "green" if good == len(rows) else "red"
    console.print(Text(f"{good} of {len(rows)} as expected.", f"bold {colour}"))
    console.print(Text(f"The journal has a line for each request: {journal}"), soft_wrap=True)


def _group(console: Console, title: str, rows: Sequence[Row]) -> RenderableType:
    if console.width >= TABLE_WIDTH:
        return _table(title, rows)
    return Group(Text(f"{title}\n", "bold"), *(_paragraph(row) for row in rows))


def _table(title: str, rows: Sequence[Row]) -> Table:
    """The reason has a column unless the title says it for all."""
    table = Table(
        title=Text(f"{title}\n", "bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 2, 0, 0),
    )
    one_reason = all(row.reason == SENT_ON for row in rows)
    table.add_column("Who", no_wrap=True)
    table.add_column("What is the matter", ratio=1)
    headers = ("Exchange said", "The phone got", *(() if one_reason else ("Why",)), "Expected")
    for header in headers:
        table.add_column(header, no_wrap=True)
    for row in rows:
        texts = (
            row.story,
            row.exchange_said,
            row.device_got,
            *(() if one_reason else (row.reason,)),
        )
        table.add_row(_who(row), *map(Text, texts), _verdict(row))
    table.add_row()
    return table


def _paragraph(row: Row) -> Text:
    """The same for a narrow terminal."""
    answers = f"Exchange: {row.exchange_said}; phone: {row.device_got}"
    head = Text.assemble(_who(row), f": {row.story}\n  {answers}\n")
    return Text.assemble(head, f"  {row.reason}; as expected: ", _verdict(row), "\n")


def _who(row: Row) -> Text:
    return Text.assemble(row.who, (f" ({row.device})", "dim"))


def _verdict(row: Row) -> Text:
    return Text("yes", "green") if row.as_expected else Text("NO", "bold red")


def to_json(rows: Sequence[Row], journal: Path) -> dict[str, object]:
    """The same facts for programs, in plain JSON types."""
    return {
        "as_expected": all(row.as_expected for row in rows),
        "journal": str(journal),
        "people": [{**asdict(row), "as_expected": row.as_expected} for row in rows],
    }
