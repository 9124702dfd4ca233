"""What the commands share: exit codes, messages, the configuration, JSON. Imports nothing slow.

A command's result goes to standard output, its messages to standard error.
"""

import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from eas_redirect.telemetry.printable import printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console

    from eas_redirect.configuration.config import Config
    from eas_redirect.configuration.sources import Override


GOOD = 0
FINDINGS = 1  # something is wrong with what was looked at
USAGE = 2  # usage or configuration
UNREACHABLE = 3  # directory or server out of reach

DEFAULT_CONFIG = Path("eas-redirect.toml")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", help="The eas-redirect.toml, or env:"),
]
ExcelOption = Annotated[
    str | None,
    typer.Option(
        "--excel",
        metavar="SEPARATOR",
        help="As --csv, for Excel: UTF-8 with a byte order mark, and the list separator of its"
        " language: ',', ';' or tab.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def tell(text: str) -> None:
    """Print a message: a line on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def fail(text: str, code: int) -> NoReturn:
    """End the command with a message and an exit code."""
    tell(text)
    raise typer.Exit(code)


def is_folder(text: str) -> bool:
    """Whether there is a folder of this name; the text may be anything."""
    with suppress(OSError, ValueError):
        return Path(text).is_dir()
    return False


def no_capture(subject: str) -> str:
    """Why what was named is no capture, and what to name."""
    name = "name a flow file of mitmproxy or a HAR."
    if subject == "-":
        return f"A capture is read from a file and not from standard input: {name}"
    if is_folder(subject):
        return f"{subject} is a folder: {name}"
    return f"There is no capture {subject}: {name}"


def spare(path: Path | None, *kinds: str | None) -> None:
    """End the command if it would write over a file of another kind than these (`kind_of`; None:
    any that is not known)."""
    from eas_redirect.configuration.foreign_files import HEAD, kind_of

    if path is None or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return  # writing it says why
    if head and (kind := kind_of(head)) not in kinds:
        fail(f"{path} is there already, and is {kind or 'no page'}: name another file.", USAGE)


def check_asked(version: str | None, address: str | None, called: str | None) -> None:
    """What is assumed of a device, from options, or the end of the command."""
    import ipaddress

    if version is not None and not re.fullmatch(r"[0-9]{1,2}\.[0-9]", version):
        fail(f"--protocol-version {version}: write it as 12.1, 14.1 or 16.1.", USAGE)
    if address is not None:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            fail(f"--address {address}: is no IP address.", USAGE)
    if called is not None and ("/" in called or called.startswith(":")):
        meant = called.partition("://")[2].partition("/")[0] or "mail.contoso.example"
        fail(f"--called {called}: write the host alone, as in {meant}.", USAGE)


def fail_without(error: ModuleNotFoundError, needs: str, extra: str) -> NoReturn:
    """End the command because a library of an extra is not installed. Raises if the missing
    module is our own."""
    missing = "backports.zstd" if error.name == "backports" else error.name or ""
    if not missing or missing.split(".")[0] == "eas_redirect":
        raise error
    fail(f"{needs} {missing}, which is not installed: pip install 'eas-redirect[{extra}]'", USAGE)


def load(path: Path, options: "Mapping[str, Override | None] | None" = None) -> "Config":
    """The configuration, or the end of the command with every problem in it.

    `options`: what the command's options say in place of the file, by dotted key; None: not given.
    """
    from eas_redirect.configuration.config import ConfigError

    try:
        return load_with(path, options or {})
    except ConfigError as error:
        fail("\n".join(error.problems), USAGE)


def load_with(path: Path, options: "Mapping[str, Override | None]") -> "Config":
    """As `load`, but raises ConfigError. A problem with an option is reported by the option's
    name."""
    from eas_redirect.configuration.config import ConfigError, load_config

    given = {key: value for key, value in options.items() if value is not None}
    try:
        return load_config(path, given)
    except ConfigError as error:
        raise ConfigError(tuple(map(_by_option, error.problems))) from error


def _by_option(problem: str) -> str:
    """`an option: proxy.stop_timeout_s: …` → `--stop-timeout: …`."""
    key, colon, rest = problem.removeprefix("an option: proxy.").partition(": ")
    if not problem.startswith("an option: proxy.") or not colon:
        return problem
    return f"--{key.removesuffix('_s').replace('_', '-')}: {rest}"


def print_text(text: str) -> None:
    """A result for people, in lines."""
    print_lines(text.split("\n"))


def print_lines(lines: Iterable[str]) -> None:
    """The same, line by line as they are made."""
    for line in lines:
        print(printable(line))


def print_json(value: object) -> None:
    """A result for machines, written as it is made."""
    write_pieces(json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value))
    print()


def write_pieces(pieces: Iterable[str]) -> None:
    """Text for machines, written as it is made. Only what is not text at all is replaced."""
    for piece in pieces:
        sys.stdout.write(printable_json(piece.encode("utf-8", "replace").decode("utf-8")))


def excel_separator(text: str | None) -> str | None:
    """The value of `--excel`: a comma, a semicolon or a tab; or the end of the command."""
    if text is None or text in (",", ";", "\t"):
        return text
    if text in ("tab", "\\t"):
        return "\t"
    fail(f"--excel {text}: say the list separator of that Excel: ',', ';' or tab.", USAGE)


def write_for_excel(pieces: Iterable[str]) -> None:
    """CSV in UTF-8 with its byte order mark, whatever the terminal's encoding, so that Excel
    opens it with a double click."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write("\N{ZERO WIDTH NO-BREAK SPACE}")
    write_pieces(pieces)


def console() -> "Console":
    """For results as tables: colours only on a terminal. Elsewhere the lines are long, since a
    log file does not wrap. What looks like markup is text: names come from outside."""
    from eas_redirect.cli.tables import PrintableConsole

    terminal = sys.stdout.isatty()
    return PrintableConsole(
        highlight=False, markup=False, emoji=False, width=None if terminal else 160
    )


MANY = 50  # items that begin to take long


@contextmanager
def progress_bar(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number of bytes read. On a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=size)
        yield lambda count: bar.advance(task, count)


def progress_lines(what: str, total: int) -> Callable[[], None]:
    """Returns a function to call after each item."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if total >= MANY and (done % MANY == 0 or done == total):
            tell(f"{what}: {done} of {total}")

    return step
