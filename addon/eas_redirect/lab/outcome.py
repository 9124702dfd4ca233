"""What came of each walk, checked against what was expected, and shown as tables or as JSON.

It looks at what the devices got, what Exchange sent and what the journal says.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from eas_redirect.activesync.request import read_request
from eas_redirect.activesync.response import read_answer
from eas_redirect.lab.autodiscovery import other_address
from eas_redirect.lab.http_server import Exchanged, Reply
from eas_redirect.lab.personas import Expected, Persona
from eas_redirect.lab.phone import Got
from eas_redirect.lab.walk import Walk

SENT_ON = "mailbox_moved"
CONFIRMED = "confirmed"
UNAUTHENTICATED = "unauthenticated"
EXCHANGE_ACTIONS = (
    "eas.exchange",
    "eas.redirect",
    "eas.would_redirect",
    "eas.autodiscover",
    "eas.wait",
)


@dataclass(frozen=True, slots=True)
class JournalLine:
    """What the lab reads of one journal line."""

    client_port: int
    reason: str
    message: str = ""
    confirmed: bool = False  # a redirected device arriving at the host that it was sent to


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """One persona's outcome in words. `problems` is empty if everything was as expected."""

    name: str
    who: str
    device: str
    story: str
    exchange_said: str
    device_got: str
    reason: str
    why: str
    problems: tuple[str, ...] = ()

    @property
    def as_expected(self) -> bool:
        return not self.problems


def read_journal(path: Path) -> tuple[JournalLine, ...]:
    """The lines about EAS exchanges, in order; a line still being written is left out."""
    if not path.exists():
        return ()
    lines = path.read_text("utf-8").splitlines(True)
    # HAProxy's log also says in plain words that it starts.
    complete = [line for line in lines if line.endswith("\n") and line.startswith("{")]
    return tuple(
        _journal_line(fields)
        for fields in map(json.loads, complete)
        if fields["event"]["action"] in EXCHANGE_ACTIONS
    )


def _journal_line(fields: dict[str, Any]) -> JournalLine:
    return JournalLine(
        client_port=int(fields["client"]["port"]),  # HAProxy quotes every field
        reason=fields["event"]["reason"],
        message=fields["message"],
        confirmed=fields["eas"].get("redirect", {}).get("confirmed", False),
    )


def tells_of(
    lines: Sequence[JournalLine], walks: Sequence[Walk], *, both_sides_seen: bool = False
) -> bool:
    """Whether each request to Exchange has its line, and the last one at the target, if seen."""
    counted: Counter[int | None] = Counter(line.client_port for line in lines)
    let_in = {line.client_port for line in lines if line.reason != UNAUTHENTICATED}
    return all(
        sum(counted[port] for port in walk.ports) >= len(walk.got) for walk in walks if walk.got
    ) and all(
        walk.arrived.local_port in let_in
        for walk in walks
        if both_sides_seen and walk.arrived is not None and walk.arrived.status != 401
    )


def outcome_of(
    walks: Sequence[Walk],
    exchanged: Iterable[Exchanged],
    journal: Iterable[JournalLine],
    arrived: Collection[str],
    *,
    both_sides_seen: bool = False,
) -> tuple[OutcomeRow, ...]:
    """A row for each walk. Journal lines belong to the walk that called from their ports.
    `arrived`: user principal names that the target has let in. `both_sides_seen`: the proxy also
    sees the way to the target, and must confirm arrivals."""
    by_port: defaultdict[int | None, list[JournalLine]] = defaultdict(list)
    for line in journal:
        by_port[line.client_port].append(line)
    by_logon: defaultdict[str | None, list[Reply]] = defaultdict(list)
    for pair in exchanged:
        by_logon[pair.request.header("Authorization")].append(pair.reply)
    return tuple(
        _row(
            walk,
            by_logon[walk.persona.make_device().authorization],
            [line for port in walk.ports for line in by_port[port]],
            by_port[walk.arrived.local_port] if walk.arrived and both_sides_seen else None,
            known_there=walk.persona.user_principal_name in arrived,
        )
        for walk in walks
    )


def _row(
    walk: Walk,
    replies: list[Reply],
    lines: list[JournalLine],
    arrival: list[JournalLine] | None,
    *,
    known_there: bool,
) -> OutcomeRow:
    """`arrival`: the journal's lines about the phone at the target, where they can be;
    `known_there`: the target itself says that the person has arrived."""
    persona = walk.persona
    last = lines[-1] if lines else None
    sent_on = bool(last and last.reason == SENT_ON)
    confirmed = any(line.confirmed for line in arrival or ())
    problems = list(_problems(walk, replies, lines))
    if known_there is not (persona.arrives == 200):
        problems.append(f"the target has {'' if known_there else 'not '}let this person in")
    # Autodiscover is asked by no device that the ledger knows.
    if sent_on and arrival is not None and not confirmed and not persona.adds_account:
        problems.append("the journal does not confirm that the phone arrived")
    return OutcomeRow(
        name=persona.name,
        who=persona.first_name,
        device=persona.model.words,
        story=persona.story,
        exchange_said=_said(persona, replies[-1]) if replies else "nothing",
        device_got=_got(walk, sent_on=sent_on) + (f", {CONFIRMED}" if confirmed else ""),
        reason=last.reason if last else "",
        why=last.message if last else "",
        problems=tuple(problems),
    )


def _problems(walk: Walk, replies: list[Reply], lines: list[JournalLine]) -> Iterable[str]:
    persona = walk.persona
    if walk.problem:
        yield walk.problem
    if not len(walk.got) == len(replies) + persona.ended == persona.requests:
        yield f"{persona.requests} requests, {len(walk.got)} answers, {len(replies)} at Exchange"
    if len(lines) != persona.requests:
        yield f"{persona.requests} requests have {len(lines)} journal lines"
    for expected, got, reply in zip(persona.expects, walk.got, replies, strict=False):
        yield from _answer_problems(expected, got, reply)
    for expected, line in zip(persona.expects, lines, strict=False):
        if line.reason != expected.reason:
            yield f"the journal says {line.reason}, expected {expected.reason}"
    arrived = walk.arrived.status if walk.arrived else None
    if arrived != persona.arrives:
        yield f"the target answered {arrived}, expected {persona.arrives}"


def _answer_problems(expected: Expected, got: Got, reply: Reply) -> Iterable[str]:
    if got.status != expected.status:
        yield f"the device got {got.status}, expected {expected.status}"
    host = urlsplit(got.location).hostname if got.location else None
    if host != expected.host:
        yield f"the device was sent to {host}, expected {expected.host}"
    if expected.reason != SENT_ON and not untouched(got, reply):
        yield "the answer was changed on its way"


def untouched(got: Got, reply: Reply) -> bool:
    """Whether the device got what Exchange sent: status, every header, every byte."""
    length = ("Content-Length", str(len(got.wire_body)))
    same_head = got.status == reply.status and got.headers == (*reply.headers, length)
    return same_head and got.wire_body == reply.body


def _said(persona: Persona, reply: Reply) -> str:
    """`200, status 123`, or `403`: what the wire shows."""
    if persona.adds_account and isinstance(reply.body, bytes):
        said = "Redirect" if other_address(reply.body) else "no Redirect"
        return f"{reply.status}, {said}"
    ask, device = persona.asks[-1], persona.make_device()
    request = read_request(ask.method, device.target(ask), device.headers(ask))
    body = reply.body if isinstance(reply.body, bytes) else None
    status = read_answer(request, reply.status, reply.headers, body).eas_status
    return str(reply.status) if status is None else f"{reply.status}, status {status}"


def _got(walk: Walk, *, sent_on: bool) -> str:
    if not walk.got:
        return "nothing"
    last = walk.got[-1]
    if not sent_on or last.location is None:
        found_it = walk.persona.adds_account and walk.arrived is not None
        return "the same, and let in elsewhere" if found_it else "the same"
    what = "Settings" if last.is_settings else str(last.status)
    sent = f"{what} → {urlsplit(last.location).hostname}"
    if walk.persona.sent_back:
        return f"{sent}, and back, {len(walk.got)} times"
    if walk.arrived is not None:
        there = "let in" if walk.arrived.status == 200 else f"and {walk.arrived.status} there"
        return f"{sent}, {there}"
    return sent if walk.persona.follows else f"{sent}, {len(walk.got)} times"


TABLE_WIDTH = 110  # columns that a table needs; below it the same comes in paragraphs

INTRODUCTION = """\
[bold]mail.contoso.example[/] is an old Exchange server (a stand-in). Most of its mailboxes have
moved away, but phones still call it, and all that it can say is that there is no mailbox.
In front of it runs a real [bold]{proxy} with eas-redirect[/]. These people's phones asked for
their mail through it, over TLS.
"""
LEGEND = """\
200, status 123  is Exchange's way to say UserHasNoMailbox. Very old phones, and a phone's first
                 question what the server can do, get a 403, which alone can mean many things.
451 → name       tells the phone that its mailbox is on that server from now on.
Settings → name  is the same in an answer of Autodiscover's, for an account that is added again.
the same         is what Exchange said, unchanged in every byte.
"""
CONFIRMED_LEGEND = """\
confirmed        is when the proxy, on the way to the new server too, has seen the phone arrive.
"""


def print_outcome(
    console: Console, rows: Sequence[OutcomeRow], journal: Path, proxy: str = "mitmdump"
) -> None:
    """Who was redirected, who was left alone, and whether all of it was as it should be."""
    console.print(Text.from_markup(INTRODUCTION.format(proxy=proxy)))
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


def _group(console: Console, title: str, rows: Sequence[OutcomeRow]) -> RenderableType:
    if console.width >= TABLE_WIDTH:
        return _table(title, rows)
    return Group(Text(f"{title}\n", "bold"), *(_paragraph(row) for row in rows))


def _table(title: str, rows: Sequence[OutcomeRow]) -> Table:
    """The reason has its own column unless the title covers all rows."""
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


def _paragraph(row: OutcomeRow) -> Text:
    """The same for a narrow terminal."""
    answers = f"Exchange: {row.exchange_said}; phone: {row.device_got}"
    head = Text.assemble(_who(row), f": {row.story}\n  {answers}\n")
    return Text.assemble(head, f"  {row.reason}; as expected: ", _verdict(row), "\n")


def _who(row: OutcomeRow) -> Text:
    return Text.assemble(row.who, (f" ({row.device})", "dim"))


def _verdict(row: OutcomeRow) -> Text:
    return Text("yes", "green") if row.as_expected else Text("NO", "bold red")


def outcome_json(rows: Sequence[OutcomeRow], journal: Path) -> dict[str, object]:
    """The same facts for programs, in plain JSON types."""
    return {
        "as_expected": all(row.as_expected for row in rows),
        "journal": str(journal),
        "people": [{**asdict(row), "as_expected": row.as_expected} for row in rows],
    }
