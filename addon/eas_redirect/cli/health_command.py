"""`eas-redirect health`: whether the proxy or the judge that runs here is ready."""

import json
from pathlib import Path
from typing import Annotated

import typer

from eas_redirect.cli.common import (
    DEFAULT_CONFIG,
    FINDINGS,
    UNREACHABLE,
    USAGE,
    ConfigOption,
    fail,
    load_with,
    print_text,
    tell,
)


def health(
    config: ConfigOption = DEFAULT_CONFIG,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="HOST:PORT", help="In place of metrics.listen; unix:PATH."),
    ] = None,
    mail: Annotated[
        bool, typer.Option("--mail", help="Only whether phones reach Exchange through it.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=300, metavar="SECONDS", help="For the answer.")
    ] = 5.0,
) -> None:
    """Ask the proxy or judge that runs here whether it is ready.

    For containers and scripts: it needs no curl, and with --at no configuration. If the
    settings on disk have become faulty, it says so; that is no reason to restart what runs.

    Exit code 0: ready; 1: not ready, with the reason; 2: usage or configuration; 3: nobody answers.
    """
    from eas_redirect.telemetry.web import ask_running

    listen, refused = (at, "") if at else _listen_of(config)
    if not listen:
        fail("metrics.listen is not set, so nobody can be asked: set it, or give --at.", USAGE)
    try:
        status, body = ask_running(listen, "/ready?for=mail" if mail else "/ready", timeout)
    except ValueError as error:
        fail(f"--at: {error}.", USAGE)
    except OSError as error:
        problem = f"{listen} does not answer: {error.strerror or error}"
        fail(f"{_together(problem, refused)}.", UNREACHABLE)
    try:
        said = json.loads(body)
        word, why = said["status"], "; ".join(said.get("why", ()))
    except (ValueError, TypeError, KeyError, AttributeError):
        status, word = 0, "not ours"
        why = next(iter(body[:200].decode("utf-8", "replace").split("\n")), "").strip()
        tell(f"{listen} is not the status page: name metrics.listen, not where phones call.")
    print_text(_together(f"{word}: {why}" if why else str(word), refused))
    if status != 200:
        raise typer.Exit(FINDINGS)


def _listen_of(config: Path) -> tuple[str | None, str]:
    """Where to ask, and what is wrong with the file all the same: its first problem, or ""."""
    from eas_redirect.configuration.config import ConfigError, pages_listen

    try:
        return load_with(config, {}).metrics.listen, ""
    except ConfigError as error:
        listen = pages_listen(config)
        if listen is None:
            fail("\n".join(error.problems), USAGE)
        return listen, f"the file on disk is refused: {error.problems[0].splitlines()[0]}"


def _together(*clauses: str) -> str:
    return "; ".join(filter(None, clauses))
