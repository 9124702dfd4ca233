"""What the commands share: exit codes, talk, the configuration, JSON. Imports nothing heavy.

A command's result goes to standard output, its talk to standard error.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from eas_redirect.config import Config

GOOD = 0
FINDINGS = 1  # something is wrong with what was looked at
USAGE = 2  # usage or configuration
UNREACHABLE = 3  # directory or server out of reach

DEFAULT_CONFIG = Path("eas-redirect.toml")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The eas-redirect.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def tell(text: str) -> None:
    """Talk: a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def fail(text: str, code: int) -> NoReturn:
    """End the command with a message and an exit code."""
    tell(text)
    raise typer.Exit(code)


def load(path: Path) -> "Config":
    """The configuration, or the end of the command with every problem of it."""
    from eas_redirect.config import ConfigError, load_config

    try:
        return load_config(path)
    except ConfigError as error:
        fail("\n".join(error.problems), USAGE)


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def console() -> "Console":
    """For results as tables: colours on a terminal only, and as wide as needed where there is
    none, since a log file does not wrap."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(highlight=False, soft_wrap=not terminal, width=None if terminal else 160)
