"""Commands run as a person runs them, in this process."""

from collections.abc import Mapping
from dataclasses import dataclass

from typer.testing import CliRunner

from eas_redirect.cli.main import app


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
    """Anything but an exit code is the test's failure: no command may show a traceback."""
    result = CliRunner().invoke(app, arguments, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)
