"""`eas-redirect check`: everything the proxy will need, tried before it is needed."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
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
    JsonOption,
    console,
    fail,
    load_with,
    print_json,
    progress_lines,
    tell,
)
from eas_redirect.telemetry.printable import printable

if TYPE_CHECKING:
    from eas_redirect.checking.everything import CheckScope
    from eas_redirect.checking.tried import Check
    from eas_redirect.configuration.config import Config
    from eas_redirect.directory.values import Census
    from eas_redirect.judging.explanation import Explanation
    from eas_redirect.judging.judge import Judge

_MARKS = {"good": "✓", "warning": "!", "failed": "✗", "unreachable": "✗", "skipped": "-"}
_STYLES = {"good": "green", "warning": "yellow", "failed": "red", "unreachable": "red"}


def check(
    config: ConfigOption = DEFAULT_CONFIG,
    user: Annotated[
        list[str] | None,
        typer.Option("--user", metavar="USER", help="Judge this user, too; may repeat."),
    ] = None,
    users_file: Annotated[
        Path | None, typer.Option("--users", metavar="FILE", help="Users to judge, one a line.")
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The old Exchange, in place of the file's."),
    ] = None,
    upstream_ca: Annotated[
        Path | None, typer.Option(metavar="PEM", help="What its certificate is verified with.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Connect to the hosts that phones are sent to.")
    ] = False,
    accept_snapshot: Annotated[
        bool,
        typer.Option("--accept-snapshot", help="The snapshot is right, whatever it has lost."),
    ] = False,
    haproxy: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="HAProxy carries, with these files (eas-redirect haproxy)."
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=300, metavar="SECONDS", help="For each connection.")
    ] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Try all that the proxy needs, and say what to do where it fails.

    Exit code 0: all good, or good with warnings; 1: something failed; 2: usage or configuration;
    3: the directory, a target or the upstream is out of reach.
    """
    from eas_redirect.checking.carrier import check_haproxy
    from eas_redirect.configuration.config import ConfigError
    from eas_redirect.directory.snapshot import SnapshotError

    names = [*(user or ()), *(_names(users_file) if users_file else ())]
    try:
        loaded = load_with(config, {"proxy.upstream": upstream, "proxy.upstream_ca": upstream_ca})
        scope = _scope(loaded, timeout, probe=probe)
        if haproxy is not None:
            scope = replace(scope, carrier="haproxy")
        checks, explanations = _try_everything(
            loaded, config, scope, names, accept_snapshot=accept_snapshot
        )
        if haproxy is not None:
            checks += check_haproxy(loaded, haproxy, timeout)
    except (ConfigError, SnapshotError) as error:
        if as_json:
            _print_json(config, _refusal(error), (), USAGE)
        fail(str(error), USAGE)
    code = _exit_code(checks)
    if as_json:
        _print_json(config, checks, explanations, code)
    else:
        _print_table(checks, code)
    raise typer.Exit(code)


def _scope(config: "Config", timeout_s: float, *, probe: bool) -> "CheckScope":
    from eas_redirect.checking.everything import CheckScope
    from eas_redirect.configuration.config import discovery_policy

    proxy = config.proxy
    return CheckScope(
        upstream=proxy.upstream_url,
        upstream_ca=str(proxy.upstream_ca) if proxy.upstream_ca else None,
        upstream_name=proxy.upstream_name,
        upstream_old=proxy.upstream_tls_min == "1.0",
        host_names=config.exchange.host_names,
        autodiscover=discovery_policy(config),
        min_protocol_version=config.exchange.min_protocol_version,
        probe=probe,
        timeout_s=timeout_s,
    )


def _names(file: Path) -> tuple[str, ...]:
    from eas_redirect.configuration.user_list import UserListError, read_list

    try:
        read = read_list(file)
    except UserListError as error:
        fail(f"--users: {error}", USAGE)
    for remark in read.remarks:
        tell(f"--users: {remark}")
    return read.names


def _try_everything(
    config: "Config",
    path: Path,
    scope: "CheckScope",
    names: Sequence[str],
    *,
    accept_snapshot: bool,
) -> tuple[list["Check"], list["Explanation"]]:
    from eas_redirect.checking import everything
    from eas_redirect.configuration.config import directory_settings
    from eas_redirect.directory.ldap.credentials import BindCredentials
    from eas_redirect.directory.open import open_directory
    from eas_redirect.directory.snapshot import Snapshot
    from eas_redirect.judging.explanation import judge_over
    from eas_redirect.judging.wave_names import with_waves

    settings = directory_settings(config)
    # One for all of it: what a server refused is not tried again by whoever asks next.
    credentials = BindCredentials(settings)
    checks = list(everything.check_here(config, path, scope))
    checks += everything.check_directory(config, credentials)
    directory = open_directory(settings, config.directory.snapshot, credentials)
    try:
        checks += everything.check_snapshot(
            directory, settings, config.directory.snapshot, accept=accept_snapshot
        )
        if not accept_snapshot:
            checks += everything.check_adoption(config, scope.timeout_s)
        if isinstance(directory, Snapshot) and directory.partial:
            return [*checks, *everything.check_exchange(scope)], []
        judge = with_waves(judge_over(config, directory))
        checks += everything.check_waves(config.mode, judge.policy.wave)
        asked, users, explanations = asyncio.run(_ask(judge, directory, config, scope, names))
    finally:
        directory.close()
    return [*checks, *asked, *everything.check_exchange(scope), *users], explanations


def _refusal(error: Exception) -> list["Check"]:
    """Each problem of a configuration with which nothing can be tried."""
    from eas_redirect.checking.tried import Check
    from eas_redirect.configuration.config import ConfigError

    problems = error.problems if isinstance(error, ConfigError) else (str(error),)
    return [Check(subject="configuration", state="failed", finding=text) for text in problems]


async def _ask(
    judge: "Judge",
    census: "Census",
    config: "Config",
    scope: "CheckScope",
    names: Sequence[str],
) -> tuple[list["Check"], list["Check"], list["Explanation"]]:
    from eas_redirect.checking.domain_controllers import check_accounts
    from eas_redirect.checking.everything import check_policy, check_user
    from eas_redirect.checking.legacy_server import ceiling_at
    from eas_redirect.judging.explanation import AskedDevice, explain_user

    relationships = await judge.directory.relationships()
    policy_checks = list(check_policy(relationships, judge.policy, scope))
    if relationships.sight is not None:
        policy_checks += check_accounts(await census.everyone(), relationships.sight)
    at_once = asyncio.Semaphore(config.directory.pool_size)
    # Devices speak what their server speaks.
    server = scope.upstream if names else None
    ceiling = await asyncio.to_thread(ceiling_at, server, scope.timeout_s)
    device = AskedDevice(protocol_version=ceiling) if ceiling else AskedDevice()
    step = progress_lines("users", len(names))

    async def one(name: str) -> "Explanation | None":
        async with at_once:
            explanation = await explain_user(judge, name, device)
            step()
            return explanation

    found = await asyncio.gather(*map(one, names))
    users = [check_user(name, e) for name, e in zip(names, found, strict=True)]
    return policy_checks, users, [explanation for explanation in found if explanation]


def _exit_code(checks: Iterable["Check"]) -> int:
    states = {check.state for check in checks}
    if "unreachable" in states:
        return UNREACHABLE
    return FINDINGS if "failed" in states else GOOD


def _print_table(checks: Sequence["Check"], code: int) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    for column in ("mark", "subject", "finding"):
        table.add_column(column, overflow="fold")
    for done in checks:
        style = _STYLES.get(done.state, "dim")
        finding = Text(printable(done.finding))
        if done.advice:
            finding.append(f"\n→ {printable(done.advice)}", style="bold")
        table.add_row(Text(_MARKS[done.state], style=style), printable(done.subject), finding)
    out = console()
    with out.capture() as drawn:
        out.print(table)
    for line in drawn.get().splitlines():
        print(line.rstrip())  # a table pads its last column
    print(_summary(checks, code))


def _summary(checks: Sequence["Check"], code: int) -> str:
    states = [check.state for check in checks]
    wrong = states.count("failed") + states.count("unreachable")
    warnings = states.count("warning")
    if wrong:
        noun = "warning" if warnings == 1 else "warnings"
        return f"{wrong} of {len(checks)} to fix, {warnings} {noun} (exit code {code})"
    return f"All {len(checks)} good, {warnings} of them with a warning" if warnings else "All good"


def _print_json(
    path: Path, checks: Sequence["Check"], explanations: Sequence["Explanation"], code: int
) -> None:
    from dataclasses import asdict

    from eas_redirect.judging.explanation import explanation_json

    print_json(
        {
            "config": str(path),
            "exit_code": code,
            "checks": [asdict(done) for done in checks],
            "users": [explanation_json(explanation) for explanation in explanations],
        }
    )
