"""`eas-redirect report`: who followed, who did not, and when the old server can go."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eas_redirect.cli.common import (
    FINDINGS,
    USAGE,
    ExcelOption,
    JsonOption,
    console,
    excel_separator,
    fail,
    fail_without,
    spare,
    tell,
    write_for_excel,
    write_pieces,
)

if TYPE_CHECKING:
    from eas_redirect.configuration.config import Config
    from eas_redirect.report.handover import Account
    from eas_redirect.report.report_values import Report
    from eas_redirect.telemetry.journal import Redaction


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
    excel: ExcelOption = None,
    target_devices: Annotated[
        list[str] | None,
        typer.Option(
            "--target-devices",
            metavar="FILE",
            help="What the target knows of devices: a CSV of Get-MobileDeviceStatistics or"
            " Get-MobileDevice, an IIS log or a journal. Repeatable.",
        ),
    ] = None,
    target_dates: Annotated[
        str | None,
        typer.Option(
            metavar="ORDER",
            help="Of dates such as 3/4/2026 in those files: day-first or month-first.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="With --target-devices or --certificate: the eas-redirect.toml, for the key of"
            " hashed journals and for the directory, which tells whose a name is.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write one page for signature: may it go?"),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            metavar="USERS.csv", help="With --certificate: all users who are meant, as for plan."
        ),
    ] = None,
) -> None:
    """Say who followed, who is stuck, and when the old server can go.

    From journals alone: of any number of proxies, over any time.
    """
    _check_options(
        {
            "--json, --csv and --excel: choose one.": as_json + as_csv + (excel is not None) > 1,
            "--target-dates goes with --target-devices.": target_dates and not target_devices,
            "--users goes with --certificate.": users and not certificate,
            "--config goes with --target-devices or --certificate.": config
            and not (target_devices or certificate),
        }
    )
    separator = excel_separator(excel)
    digests: list[tuple[str, str]] | None = [] if certificate is not None else None
    made = read_journals(journals, output, until, _fields(iis_fields), digests)
    if target_devices:
        made = _with_target(made, target_devices, target_dates, config)
    if certificate is not None and digests is not None:
        from eas_redirect.report.inputs import expand

        paths = (path for name in target_devices or () for path in expand(name))
        digests += [(str(path), _digest(path)) for path in paths]
        _certify(certificate, made, users, config, digests)
    if output is not None:
        _write_page(output, made)
    if as_json:
        from eas_redirect.report.exports import json_pieces

        write_pieces(json_pieces(made))
    elif as_csv:
        from eas_redirect.report.exports import report_csv

        write_pieces(report_csv(made.devices))
    elif separator is not None:
        from eas_redirect.report.exports import report_csv

        write_for_excel(report_csv(made.devices, separator))
    elif output is None and certificate is None:
        from eas_redirect.report.terminal import print_summary

        print_summary(console(), made)
    for note in (*made.notes, *(made.target.notes if made.target else ())):
        tell(note)
    if _has_findings(made):
        raise typer.Exit(FINDINGS)


def _check_options(wrong: Mapping[str, object]) -> None:
    for sentence, applies in wrong.items():
        if applies:
            fail(sentence, USAGE)


def _has_findings(made: "Report") -> bool:
    """A file that could not be used, or that is of somebody else."""
    if made.input.unread_files or (not made.input.exchanges and made.input.lines):
        return True
    return made.target is not None and bool(made.target.strange_files)


def read_journals(
    journals: list[str],
    output: Path | None = None,
    until: str | None = None,
    iis_fields: tuple[str, ...] = (),
    digests: list[tuple[str, str]] | None = None,
) -> "Report":
    """A report on them, or the end of the command with what is wrong. `digests` is filled."""
    import time

    now_s = time.time()
    until_s = _moment(until, now_s)

    try:
        from eas_redirect.report.figures import make_report
    except ModuleNotFoundError as error:
        fail_without(error, "Reports need", "report")
    from eas_redirect.cli.common import progress_bar
    from eas_redirect.report.inputs import SourceError, open_sources
    from eas_redirect.report.store import StoreError

    try:
        with open_sources(journals) as sources:
            _keep_apart(output, (source.path for source in sources))
            if digests is not None:
                digests += [(source.name, _digest(source.path)) for source in sources]
            with progress_bar("journals", sum(source.size for source in sources)) as advance:
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


def _with_target(
    made: "Report", names: list[str], order: str | None, config: Path | None
) -> "Report":
    """The report with the target's verdicts, or the end of the command with what is wrong."""
    import time

    from eas_redirect.cli.common import load
    from eas_redirect.report.handover import names_in_doubt, unjoinable, with_target
    from eas_redirect.report.inputs import SourceError
    from eas_redirect.report.store import StoreError
    from eas_redirect.report.target_export import DATE_ORDERS, TargetError
    from eas_redirect.report.target_rows import read_target

    chosen = next((one for one in DATE_ORDERS if one == order), None)
    if order is not None and chosen is None:
        fail(f"--target-dates {order}: say day-first or month-first.", USAGE)
    settings = load(config) if config is not None else None
    redaction = _redaction(settings)
    if (problem := unjoinable(made.devices, redaction)) is not None:
        fail(problem, USAGE)
    try:
        target = read_target(names, time.time(), chosen)
    except (TargetError, StoreError) as error:
        fail(str(error), USAGE)
    except SourceError as error:
        fail("\n".join(error.problems), USAGE)
    accounts: dict[str, Account] = {}
    if settings is not None:
        accounts = _accounts(settings, names_in_doubt(made.devices, target, redaction))
    return with_target(made, target, accounts, redaction)


def _redaction(config: "Config | None") -> "Redaction":
    """How the journals of that configuration name users."""
    from eas_redirect.telemetry.journal import Redaction

    if config is None or config.journal.users != "hash" or not config.journal.hash_key_file:
        return Redaction()
    return Redaction(users="hash", key=config.journal.hash_key_file.read_bytes().strip())


def _certify(
    path: Path,
    made: "Report",
    users: Path | None,
    config: Path | None,
    digests: list[tuple[str, str]],
) -> None:
    from eas_redirect.cli.common import load
    from eas_redirect.configuration.user_list import UserListError, read_users
    from eas_redirect.report.certificate import certify, render_certificate
    from eas_redirect.report.handover import key_lacking

    named = None
    try:
        if users is not None:
            named = read_users(users)
            digests.append((str(users), _digest(users)))
    except UserListError as error:
        fail(str(error), USAGE)
    settings = load(config) if config is not None else None
    if config is not None:
        digests.append((str(config), _digest(config)))
    redaction = _redaction(settings)
    if named is not None and (problem := key_lacking(made.devices, redaction)) is not None:
        fail(problem, USAGE)
    accounts = _accounts(settings, named) if settings is not None and named else {}
    made_out = certify(made, named, accounts, redaction)
    _keep_apart(path, (Path(name) for name, _ in digests))
    _write_text(path, render_certificate(made_out, made, digests))
    tell(made_out.outcome.value)


def _digest(path: Path) -> str:
    """SHA-256 in hexadecimal."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _accounts(config: "Config", names: "tuple[str, ...]") -> "dict[str, Account]":
    """What the directory says of these users; those whom it does not find are left out."""
    import asyncio

    from eas_redirect.cli.common import progress_lines
    from eas_redirect.configuration.config import ConfigError, directory_settings
    from eas_redirect.directory.open import open_directory
    from eas_redirect.directory.snapshot import SnapshotError
    from eas_redirect.judging.explanation import judge_over
    from eas_redirect.planning.accounts import accounts_of

    if not names or not (config.directory.snapshot or config.directory.servers):
        return {}
    try:
        directory = open_directory(directory_settings(config), config.directory.snapshot)
    except (ConfigError, SnapshotError) as error:
        fail(str(error), USAGE)
    try:
        judge = judge_over(config, directory)
        return asyncio.run(accounts_of(judge, names, progress_lines("users", len(names))))
    finally:
        directory.close()


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
    spare(output, "a web page")


def _write_page(path: Path, made: "Report") -> None:
    from eas_redirect.report.page import report_page

    _write_text(path, report_page(made))


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{path}: cannot be written ({error.strerror}).", USAGE)
    tell(f"The page is in {path}.")
