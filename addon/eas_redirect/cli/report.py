"""`eas-redirect report`: who followed, who did not, and when the old server can go."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eas_redirect.cli.common import (
    FINDINGS,
    USAGE,
    JsonOption,
    console,
    fail,
    fail_without,
    tell,
    write_pieces,
)

if TYPE_CHECKING:
    from eas_redirect.report.values import Report


def report(
    journals: Annotated[
        list[str],
        typer.Argument(
            metavar="JOURNAL...",
            help="Journals and IIS logs: files, folders, globs or - (standard input).",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the page (HTML).")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The journals are complete up to then: 'now', or a UTC time as 2026-03-22T18:00.",
        ),
    ] = None,
    iis_fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="The columns of IIS logs without #Fields: (excerpts), as that line names them.",
        ),
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print one row for each device as CSV.")
    ] = False,
) -> None:
    """Say who followed, who came back, who is stuck, and when the old server can go.

    From journals alone: of any number of proxies, over any time.
    """
    if as_json and as_csv:
        fail("--json and --csv: choose one.", USAGE)
    made = read_journals(journals, output, until, _fields(iis_fields))
    if output is not None:
        _write_page(output, made)
    if as_json:
        from eas_redirect.report.exports import json_pieces

        write_pieces(json_pieces(made))
    elif as_csv:
        from eas_redirect.report.exports import to_csv

        write_pieces(to_csv(made.devices))
    elif output is None:
        from eas_redirect.report.summary import print_summary

        print_summary(console(), made)
    for note in made.notes:
        tell(note)
    if made.input.unread_files or (not made.input.exchanges and made.input.lines):
        raise typer.Exit(FINDINGS)


def read_journals(
    journals: list[str],
    output: Path | None = None,
    until: str | None = None,
    iis_fields: tuple[str, ...] = (),
) -> "Report":
    """A report on them, or the end of the command with what is wrong."""
    import time

    now_s = time.time()
    until_s = _moment(until, now_s)

    try:
        from eas_redirect.report.figures import make_report
    except ModuleNotFoundError as error:
        fail_without(error, "Reports need", "report")
    from eas_redirect.cli.progress import progress
    from eas_redirect.report.sources import SourceError, open_sources
    from eas_redirect.report.store import StoreError

    try:
        with open_sources(journals) as sources:
            _keep_apart(output, (source.path for source in sources))
            with progress("journals", sum(source.size for source in sources)) as advance:
                return make_report(sources, now_s, advance, until_s, iis_fields)
    except SourceError as error:
        fail("\n".join(error.problems), USAGE)
    except StoreError as error:
        fail(str(error), FINDINGS)


def _fields(text: str | None) -> tuple[str, ...]:
    """Of `--iis-fields`, with or without `#Fields:` before them."""
    from eas_redirect.telemetry.w3c import missing_fields

    if text is None:
        return ()
    names = tuple(text.strip().removeprefix("#Fields:").split())
    if missing := missing_fields(names):
        fail(f"--iis-fields: {' and '.join(missing)} must be among them.", USAGE)
    return names


def _moment(text: str | None, now_s: float) -> float | None:
    """Unix seconds of what `--until` says."""
    from datetime import UTC, datetime

    if text is None or text == "now":
        return None if text is None else now_s
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--until {text}: say now, or a time as 2026-03-22T18:00.", USAGE)
    at_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if at_s > now_s:
        fail(f"--until {text}: that is still to come.", USAGE)
    return at_s


def _keep_apart(output: Path | None, journals: Iterable[Path]) -> None:
    if output is not None and output.resolve() in {path.resolve() for path in journals}:
        fail(f"{output}: is one of the journals. Name another file for the page.", USAGE)


def _write_page(path: Path, made: "Report") -> None:
    from eas_redirect.report.page import render

    try:
        path.write_text(render(made), encoding="utf-8")
    except OSError as error:
        fail(f"{path}: cannot be written ({error.strerror}).", USAGE)
    tell(f"The page is in {path}.")
