"""The `eas-redirect` command: its subcommands, in the order in which a newcomer meets them."""

import typer

app = typer.Typer(
    name="eas-redirect",
    help="Turn an old Exchange server's UserHasNoMailbox into the redirect that newer ones send.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The console script. Exit codes: 0 good, 1 findings, 2 usage, 3 out of reach."""
    app()
