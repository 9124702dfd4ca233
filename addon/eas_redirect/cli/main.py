"""The `eas-redirect` command: its subcommands, in the order in which a newcomer meets them.

Their modules import what they need when they are called, so that `--help` is quick.
"""

import errno
import io
import os
import sys
from typing import Annotated

from eas_redirect.engine import hangups

if sys.argv[1:2] in (["run"], ["judge"]):
    hangups.hold()  # first of all: from here on, a reload of the service cannot end its start

import typer

from eas_redirect import __version__
from eas_redirect.cli.check_command import check
from eas_redirect.cli.common import USAGE, tell
from eas_redirect.cli.explain_command import explain
from eas_redirect.cli.haproxy_command import haproxy
from eas_redirect.cli.health_command import health
from eas_redirect.cli.init_command import init
from eas_redirect.cli.judge_command import judge
from eas_redirect.cli.lab_command import lab
from eas_redirect.cli.plan_command import plan
from eas_redirect.cli.redact_command import redact
from eas_redirect.cli.report_command import report
from eas_redirect.cli.run_command import run
from eas_redirect.cli.script_command import script
from eas_redirect.cli.stray_words import HelpfulCommand, RunCommand
from eas_redirect.telemetry.printable import WORDS

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

app = typer.Typer(
    name="eas-redirect",
    help="Turn an old Exchange server's UserHasNoMailbox into the redirect that newer ones send.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: it stands in the reference, word for word
    pretty_exceptions_enable=False,
)
app.command("lab", cls=HelpfulCommand)(lab)
app.command("init", cls=HelpfulCommand)(init)
app.command("check", cls=HelpfulCommand)(check)
app.command("explain", cls=HelpfulCommand)(explain)
app.command("run", cls=RunCommand)(run)
app.command("haproxy", cls=HelpfulCommand)(haproxy)
app.command("judge", cls=HelpfulCommand)(judge)
app.command("health", cls=HelpfulCommand)(health)
app.command("plan", cls=HelpfulCommand)(plan)
app.command("redact", cls=HelpfulCommand)(redact)
app.command("report")(report)
app.command("script", cls=HelpfulCommand)(script)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """What stands before a subcommand."""


def main() -> None:
    """The console script. Exit codes: 0 good, 1 findings, 2 usage, 3 out of reach."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=WORDS)  # a Windows pipe may lack ✓ and →
    try:
        try:
            app()
        finally:
            print(end="", flush=True)  # there may be no standard output at all
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        # What is still held back would be complained of once more at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        tell(f"The output cannot be written: {error.strerror}.")
        sys.exit(USAGE)
