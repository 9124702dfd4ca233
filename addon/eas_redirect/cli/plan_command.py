"""`eas-redirect plan`: rehearse a wave before anybody is redirected."""

import asyncio
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eas_redirect.cli.common import (
    DEFAULT_CONFIG,
    FINDINGS,
    GOOD,
    UNREACHABLE,
    USAGE,
    ConfigOption,
    ExcelOption,
    JsonOption,
    check_asked,
    console,
    excel_separator,
    fail,
    load,
    print_json,
    print_text,
    progress_lines,
    spare,
    tell,
    write_for_excel,
)

if TYPE_CHECKING:
    from eas_redirect.configuration.config import Config
    from eas_redirect.planning.plan import PlannedUser, SeenDevices

_ASK_S = 3.0  # for the one question to Exchange: which versions it speaks
STANDARD_INPUT = Path("/dev/stdin")  # as `-` is understood
CENSUS_S = 600.0  # for reading every account of the directory, which --all does


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the command line asks. `names` None: everybody who has moved. `as_wave`: as if
    `redirect.only` meant them."""

    names: tuple[str, ...] | None
    as_wave: bool
    protocol_version: str
    called: str | None
    seen: "SeenDevices"


def plan(
    users: Annotated[
        Path | None,
        typer.Argument(
            metavar="USERS.csv",
            help="A list of users, with or without a head; - for standard input.",
        ),
    ] = None,
    everyone: Annotated[
        bool, typer.Option("--all", help="Everybody whose mailbox has moved.")
    ] = False,
    journals: Annotated[
        list[str] | None,
        typer.Option(
            "--journal",
            metavar="JOURNAL",
            help="Devices that journals or IIS logs saw, too; as report reads them. Repeatable."
            " Alone: everybody who calls.",
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_wave: Annotated[
        bool,
        typer.Option(
            "--as-wave",
            help="Rehearse as if this list were the wave, whatever redirect.only says; except still"
            " counts.",
        ),
    ] = False,
    protocol_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="What devices speak of which none is known; else what proxy.upstream speaks, or"
            " 14.1.",
        ),
    ] = None,
    called: Annotated[
        str | None, typer.Option(metavar="HOST", help="The name by which phones call this proxy.")
    ] = None,
    allow_script: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.ps1",
            help="Write PowerShell that lets approved devices in at the target, and a CSV beside"
            " it. Nothing is run.",
        ),
    ] = None,
    allow_form: Annotated[
        str,
        typer.Option(
            metavar="FORM",
            help="before: the target has the mailboxes already, or is on premises; after: a loop"
            " for those whose move is completed; rule: rules for the days of the waves.",
        ),
    ] = "after",
    known: Annotated[
        bool,
        typer.Option(
            "--known", help="With --allow-script: every partnership that is allowed here, too."
        ),
    ] = False,
    from_logs: Annotated[
        bool,
        typer.Option(
            "--from-logs",
            help="With --allow-script: devices that only --journal knows, where Exchange answered"
            " 200, too.",
        ),
    ] = False,
    letters: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write what to tell each user, for a mail merge."),
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a row for each user and device as CSV.")
    ] = False,
    excel: ExcelOption = None,
) -> None:
    """Rehearse a wave: location, findings and readiness per user.

    Exit code 0: everybody goes, or rightly stays; 1: something has to be corrected; 2: usage or
    configuration; 3: the directory is out of reach.
    """
    from eas_redirect.judging.explanation import AskedDevice

    if (users is not None and everyone) or not (users or everyone or journals):
        fail("Name either USERS.csv or --all, or --journal alone.", USAGE)
    if as_json + as_csv + (excel is not None) > 1:
        fail("--json, --csv and --excel: choose one.", USAGE)
    separator = excel_separator(excel)
    if allow_form not in ("before", "after", "rule"):
        fail(f"--allow-form {allow_form}: say before, after or rule.", USAGE)
    if (known or from_logs) and allow_script is None:
        fail("--known and --from-logs go with --allow-script.", USAGE)
    if from_logs and not journals:
        fail("--from-logs: name the journals or IIS logs with --journal.", USAGE)
    check_asked(protocol_version, None, called)
    inputs = [path for path in (users, config, *map(Path, journals or [])) if path is not None]
    _check_outputs(allow_script, letters, inputs)
    spare(letters, None)
    names = _read(users) if users is not None else None
    settings = load(config)
    seen = _seen(journals or [])
    if names is None and not everyone:
        names = tuple(sorted(seen.by_logon, key=str.lower))
    spoken = protocol_version or _spoken_by(settings) or AskedDevice().protocol_version
    asked = PlanOptions(
        names=names, as_wave=as_wave, protocol_version=spoken, called=called, seen=seen
    )
    planned = asyncio.run(_plan(settings, asked))
    if allow_script is not None:
        _write_scripts(allow_script, allow_form, planned, known=known, from_logs=from_logs)
    if letters is not None:
        from eas_redirect.planning.plan_output import letters as written

        _write(letters, "".join(written(planned)))
    _print(planned, spoken, as_json=as_json, as_csv=as_csv, separator=separator)
    raise typer.Exit(_exit_code(planned))


def _spoken_by(config: "Config") -> str | None:
    """What an Exchange 2007 in front of which the proxy stands speaks at most."""
    from eas_redirect.checking.legacy_server import ceiling_at

    ceiling = ceiling_at(config.proxy.upstream_url, _ASK_S)
    if ceiling is not None:
        tell(f"{config.proxy.upstream} speaks {ceiling} at most: devices are judged by that.")
    return ceiling


def _read(path: Path) -> tuple[str, ...]:
    from eas_redirect.configuration.user_list import UserListError, read_list

    try:
        read = read_list(STANDARD_INPUT if str(path) == "-" else path)
    except UserListError as error:
        text = str(error)
        if not path.exists() and ("@" in path.name or "\\" in path.name):
            text += f"\nTo ask about one user: eas-redirect explain '{path}'"
        fail(text, USAGE)
    for remark in read.remarks:
        tell(remark)
    return read.names


def _seen(journals: list[str]) -> "SeenDevices":
    from eas_redirect.planning.plan import SeenDevices

    if not journals:
        return SeenDevices()
    from eas_redirect.cli.report_command import read_journals

    made = read_journals(journals, until="now")  # it does not matter here when they ended
    for note in made.notes:
        tell(note)
    return SeenDevices.of(made.devices)


async def _plan(config: "Config", asked: PlanOptions) -> "tuple[PlannedUser, ...]":
    from eas_redirect.configuration.config import ConfigError, directory_settings
    from eas_redirect.directory.open import open_directory, remarks
    from eas_redirect.directory.snapshot import SnapshotError
    from eas_redirect.judging.explanation import AskedDevice, judge_over
    from eas_redirect.judging.wave_names import doubts, with_waves
    from eas_redirect.planning.plan import Planner
    from eas_redirect.policy.waves import Criteria

    settings = directory_settings(config)
    try:
        directory = open_directory(settings, config.directory.snapshot)
        judge = judge_over(config, directory)
        if asked.as_wave:
            wave = replace(judge.policy.wave, only=Criteria())
            judge = replace(judge, policy=replace(judge.policy, wave=wave))
        judge = await asyncio.to_thread(with_waves, judge)
    except (ConfigError, SnapshotError) as error:
        fail(str(error), USAGE)
    for remark in remarks(directory, settings):
        tell(remark)
    for doubt in doubts(judge.policy.wave):
        tell(doubt)
    try:
        names = await _everyone(config) if asked.names is None else asked.names
        device = AskedDevice(protocol_version=asked.protocol_version, called_host=asked.called)
        planner = Planner(judge, directory, device, asked.seen)
        planned = await planner.plan(names, progress_lines("users", len(names)))
    finally:
        judge.directory.close()
    if len(planned) < len(names):
        tell(f"{len(names) - len(planned)} of the logons name an account once more: left out.")
    return planned


async def _everyone(config: "Config") -> tuple[str, ...]:
    """Over connections of their own, which may take longer than a phone can wait."""
    from eas_redirect.configuration.config import directory_settings
    from eas_redirect.directory.open import open_directory
    from eas_redirect.directory.values import Unavailable
    from eas_redirect.planning.plan import everyone_moved

    patient = replace(directory_settings(config), lookup_timeout_s=CENSUS_S)
    directory = open_directory(patient, config.directory.snapshot)
    try:
        found = await everyone_moved(directory)
    finally:
        directory.close()
    if isinstance(found, Unavailable):
        fail(f"The directory is out of reach: {found.message}", UNREACHABLE)
    if not found:
        tell("Nobody has moved: no account has a targetAddress and no mailbox here.")
    return found


def _print(
    planned: "tuple[PlannedUser, ...]",
    spoken: str,
    *,
    as_json: bool,
    as_csv: bool,
    separator: str | None,
) -> None:
    from eas_redirect.planning import plan_output

    waiting = plan_output.not_in_only_yet(planned)
    if as_json:
        print_json(plan_output.plan_json(planned, spoken))
    elif as_csv:
        for piece in plan_output.plan_csv(planned):
            sys.stdout.write(piece)
    elif separator is not None:
        write_for_excel(plan_output.plan_csv(planned, separator))
    else:
        plan_output.print_table(console(), planned)
        if assumed := plan_output.assumed_in_words(planned, spoken):
            print_text(assumed)
        if waiting:
            print_text(waiting)
        return
    if waiting:
        tell(waiting)


@dataclass(frozen=True, slots=True)
class _Scripts:
    """The files beside the one that `--allow-script` names."""

    allow: Path

    @property
    def devices(self) -> Path:
        return self.allow.with_name(f"{self.allow.stem}-devices.csv")

    @property
    def undo(self) -> Path:
        return self.allow.with_name(f"{self.allow.stem}-undo.ps1")

    @property
    def blocked(self) -> Path:
        return self.allow.with_name(f"{self.allow.stem}-blocked.ps1")


def _check_outputs(script: Path | None, letters: Path | None, inputs: list[Path]) -> None:
    """Nothing is written over what is read, or twice into one file."""
    outputs = [letters] if letters is not None else []
    if script is not None:
        if script.suffix.lower() != ".ps1":
            fail(f"--allow-script {script}: name it FILE.ps1. PowerShell runs no other.", USAGE)
        names = _Scripts(script)
        outputs += [names.allow, names.devices, names.undo, names.blocked]
    read = {path.resolve() for path in inputs}
    written = [path.resolve() for path in outputs]
    for path, there in zip(outputs, written, strict=True):
        if there in read:
            fail(f"{path}: is read by this command. Choose another name for the output.", USAGE)
        if written.count(there) > 1:
            fail(f"{path}: would be written twice. Choose another name for --letters.", USAGE)


def _write_scripts(
    path: Path, form: str, planned: "tuple[PlannedUser, ...]", *, known: bool, from_logs: bool
) -> None:
    from eas_redirect.planning import approvals

    found = approvals.approvals(planned, known=known, from_logs=from_logs)
    chosen = approvals.ScriptForm(form)
    names = _Scripts(path)
    _write(names.allow, approvals.allow_script(found, chosen))
    _write(names.devices, "".join(approvals.approvals_csv(found)))
    if chosen is approvals.ScriptForm.RULE:
        _write(names.undo, approvals.undo_script())
    if any(one.blocked for one in found):
        _write(names.blocked, approvals.block_script(found))
    for one in found:
        for sentence in one.left_out:
            tell(sentence)
    if not any(one.ids for one in found):
        tell(
            "No approved device is readable, or there is none: the account may lack the right to"
            " read msExchMobileAllowedDeviceIDs and the device objects."
        )


def _write(path: Path, text: str) -> None:
    """With a byte order mark: without one Windows PowerShell and Excel read ANSI."""
    try:
        path.write_text(text, encoding="utf-8-sig", newline="")
    except OSError as error:
        fail(f"{path}: cannot be written ({error.strerror}).", USAGE)
    tell(f"Written: {path}.")


def _exit_code(planned: "tuple[PlannedUser, ...]") -> int:
    if any(user.out_of_reach for user in planned):
        return UNREACHABLE
    return GOOD if all(user.in_order for user in planned) else FINDINGS
