"""Plain sentences about the journals themselves: what was torn, foreign, misdated, missing.

Imports DuckDB for its types only.
"""

from collections.abc import Sequence

import duckdb

from eas_redirect.policy.reasons import NO_MAILBOX_REASON
from eas_redirect.report.inputs import InputKind, Source
from eas_redirect.report.lines import LET_IN, LineClass, Lines
from eas_redirect.report.old_server import SILENCE_S
from eas_redirect.report.report_values import DAY_MS, SHOWN_DAYS
from eas_redirect.report.words import counted, length
from eas_redirect.telemetry.record import ECS_VERSION

_SHOWN = 60  # characters of a text that a client wrote
MANY_REASONS = 100  # the addon knows about two dozen

_ODDITIES = f"""
SELECT count(*) FILTER (schema IS NULL), count(*) FILTER (schema <> $schema),
  min(schema) FILTER (schema <> $schema),
  count(*) FILTER (zone = ''), count(*) FILTER (zone NOT IN ('', 'Z', '+00:00')),
  count(*) FILTER (class = 0 AND user_key IS NULL AND {LET_IN}),
  count(*) FILTER (class = 0)
FROM lines WHERE class < 2
"""

_NO_PHONES = f"""
SELECT method, user_agent, address, count(*) AS n FROM lines
WHERE class = {LineClass.NO_PHONE:d} GROUP BY ALL ORDER BY n DESC, 1, 2, 3 LIMIT 3
"""

_TOO_LOW = """
SELECT count(DISTINCT key) FROM lines WHERE class = 0 AND reason = 'protocol_version_too_low'
"""

_WITHOUT_MAILBOX = """
SELECT count(DISTINCT key), count(DISTINCT user_key) FROM lines
WHERE class = 0 AND reason = $reason
"""


def notes_about(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[Source],
    lines: Lines,
    now_s: float,
    until: int | None,
) -> tuple[str, ...]:
    """One sentence each; none if all is well. `until`: the end of the journals, milliseconds."""
    values = {"schema": ECS_VERSION}
    row = connection.execute(_ODDITIES, values).fetchall()[0]
    unversioned, other_version, version, naive, zoned, nameless, exchanges = row
    reasons = connection.execute(
        "SELECT count(DISTINCT reason) FROM lines WHERE class = 0"
    ).fetchall()[0][0]
    notes = [
        *lines.unread_files,
        *(
            f"{name} has no line #Fields: and was read as the others."
            for name in lines.guessed_files
        ),
        *_about_lines(lines),
        _if(lines.copied, "{} that another of the files has too: counted once."),
        *lines.clocks,
        _if(lines.behind, "{} of servers behind a proxy left out: its journal has them too."),
        *(f"{name} breaks off; it was read up to there." for name in lines.broken_files),
        *(f"{name} is the journal once more, in W3C form: left out." for name in lines.twins),
        _if(
            other_version,
            "{} of another version of the journal ({}): read as far as they go.",
            version,
        ),
        _if(unversioned, "{} without a version: of an older journal, read as far as they go."),
        _if(zoned, "{} with a time in another zone: counted in UTC."),
        _if(naive, "{} with a time that names no zone: taken as UTC."),
        _if(nameless, "{} without a user (dropped, or not to be read): counted, but in no device."),
    ]
    notes += _about_users(lines)
    if until is not None:
        notes += _about_times(connection, now_s, until)
    if reasons > MANY_REASONS:
        notes.append(f"{reasons} distinct reasons: something else wrote into these journals.")
    if not exchanges:
        notes.append("No exchange of a device in any of the files: there is nothing to report yet.")
    without, users = connection.execute(_WITHOUT_MAILBOX, {"reason": NO_MAILBOX_REASON}).fetchall()[
        0
    ]
    notes += _about_versions(connection)
    if without:
        notes.append(
            f"{counted(without, 'device')} of {counted(users, 'user')} got UserHasNoMailbox:"
            " the ones that a proxy would look up and redirect."
        )
    notes += _about_no_phones(connection, lines)
    if any(source.kind in (InputKind.IIS, InputKind.EXCERPT) for source in sources):
        notes += _about_iis(connection, lines)
    return tuple(note for note in notes if note)


def _about_versions(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    devices = connection.execute(_TOO_LOW).fetchall()[0][0]
    if not devices:
        return ()
    were = "moved device was" if devices == 1 else "moved devices were"
    return (
        f"{devices} {were} left alone: the version spoken is below"
        " exchange.min_protocol_version. docs/why.md says which clients follow at 12.1.",
    )


def _about_no_phones(connection: duckdb.DuckDBPyConnection, lines: Lines) -> tuple[str, ...]:
    if not lines.no_phones:
        return ()
    rows = connection.execute(_NO_PHONES).fetchall()
    listed = ", ".join(
        f"{method or 'no method'} by {(agent or 'no User-Agent')[:_SHOWN]} from"
        f" {address or 'an unknown address'} ({counted(count, 'line')})"
        for method, agent, address, count in rows
    )
    return (
        f"{counted(lines.no_phones, 'line')} of what is no phone (another method than POST and"
        f" OPTIONS, or nobody logged on): left out. The most: {listed}.",
    )


def _about_users(lines: Lines) -> tuple[str, ...]:
    renamed = (
        f"{counted(lines.renamed, 'logon')} counted with another logon of the same user, by the"
        " directory's word or by account name and device."
    )
    shared = (
        f"{counted(lines.shared_devices, 'device id')} under several users: counted once for each."
        " If they are one user who changed the logon, the device may look as if it had followed"
        " under the old one."
    )
    return (renamed if lines.renamed else "", shared if lines.shared_devices else "")


def _about_times(
    connection: duckdb.DuckDBPyConnection, now_s: float, until: int
) -> tuple[str, ...]:
    early = connection.execute(
        "SELECT count(*) FROM lines WHERE class < 2 AND ts < $since",
        {"since": until - SHOWN_DAYS * DAY_MS},
    ).fetchall()[0][0]
    silence = now_s - until / 1000
    ended = (
        f"The journals end {length(silence)} ago, and silence is measured to their end. If the"
        " proxies have run since and these are all of their journals, say --until now."
    )
    return (
        _if(
            early, f"{{}} dated more than {SHOWN_DAYS} days before the last: old, or a wrong clock."
        ),
        ended if silence >= SILENCE_S else "",
    )


def _about_iis(connection: duckdb.DuckDBPyConnection, lines: Lines) -> tuple[str, ...]:
    front, inner = connection.execute(
        "SELECT count(*) FILTER (side = 'front'), count(*) FILTER (side = 'inner') FROM lines"
    ).fetchall()[0]
    blind = (
        "These are logs of an Exchange 2013 front end: whether it said UserHasNoMailbox stands in"
        " the log of its back end, usually W3SVC2. Name that one too."
    )
    return (
        _if(lines.doubled, "{} of a front end left out: the server behind it has them too."),
        _if(
            lines.machines,
            "{} under the account of another server, which passed the request on: who called is"
            " read from that server's log, or from the query.",
        ),
        blind if front and not inner else "",
        "IIS logs show what Exchange answered. Redirects, look-ups and reasons beyond that"
        " begin with the proxy.",
    )


def _about_lines(lines: Lines) -> tuple[str, ...]:
    return (
        _if(lines.torn, "{} torn: cut short, as by a full disk or a crash."),
        _if(
            lines.foreign,
            "{} foreign: not from a journal of eas-redirect, or not as its #Fields say.",
        ),
        _if(lines.lost, "{} could not be written when they happened: no figure here counts them."),
        _if(lines.untimed, "{} without a time that can be read: left out."),
        _if(lines.future, "{} dated in the future: a wrong clock; left out."),
    )


def _if(count: int, text: str, *values: object) -> str:
    """The sentence, or nothing if the count is 0."""
    return text.format(counted(count, "line"), *values) if count else ""
