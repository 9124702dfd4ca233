"""`eas-redirect redact`: makes a capture safe to share."""

from pathlib import Path
from typing import Annotated

import typer

from eas_redirect.cli.common import FINDINGS, USAGE, fail, no_capture, tell

_Capture = Annotated[
    Path, typer.Argument(metavar="CAPTURE", help="A flow file of mitmproxy, or a HAR.")
]
_Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="CLEAN",
        help="The file to write, a new one: a HAR if its name ends in .har, else a flow file.",
    ),
]


def redact(capture: _Capture, output: _Output) -> None:
    """Take credentials, names and contents out of a capture.

    Commands, statuses, times and sizes stay; a user or a device has the same stand-in throughout.
    Flows that are neither ActiveSync nor a phone's question to Autodiscover are left out. What was
    written is read again and searched.

    Exit code 0: written and clean; 1: part of the capture could not be read, or something was
    found again and the file was removed, or there was nothing to write; 2: usage.
    """
    from eas_redirect.cli.common import progress_bar
    from eas_redirect.redaction.redact import is_har
    from eas_redirect.redaction.redact import redact as room

    if not capture.is_file():
        fail(no_capture(str(capture)), USAGE)
    try:
        with progress_bar(capture.name, capture.stat().st_size) as advance:
            done = room(capture, output, advance)
    except FileExistsError:
        fail(f"{output} exists already: name a new file.", USAGE)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}", USAGE)
    for trouble in done.troubles:
        tell(f"! {trouble}")
    if done.leaks:
        output.unlink()
        tell("\n".join(done.leaks))
        fail(f"{output} was removed again: something was left in it. Please report this.", FINDINGS)
    if not done.kept:
        output.unlink()
        others = f"{done.left_out} other flow{'' if done.left_out == 1 else 's'}"
        left_out = f" ({others})" if done.left_out else ""
        told = f"{output} was not written: {capture} holds no exchange of ActiveSync{left_out}."
        fail(told, FINDINGS)
    kind = "a HAR" if is_har(output) else "a flow file of mitmproxy"
    print(f"{output}: {kind}, {done.kept} exchanges; {done.left_out} other flows were left out")
    if done.records_lost:
        of = f"{done.records_lost} exchange{'' if done.records_lost == 1 else 's'}"
        print(f"Only a flow file keeps what the proxy recorded of {of}: name it CLEAN.flows.")
    if done.troubles:
        raise typer.Exit(FINDINGS)
