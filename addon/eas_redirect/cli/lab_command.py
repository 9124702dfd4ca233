"""`eas-redirect lab`: a whole migration on loopback, from end to end, with people to watch."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from eas_redirect.cli.common import (
    FINDINGS,
    GOOD,
    UNREACHABLE,
    USAGE,
    JsonOption,
    console,
    fail,
    print_json,
    tell,
)

if TYPE_CHECKING:
    from eas_redirect.lab.runner import Lab, LabSettings

INTERRUPTED = 130  # as shells say it of Ctrl-C
LOOPBACK = "127.0.0.1"
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


_Keep = Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")]
_Transparent = Annotated[
    bool,
    typer.Option(
        "--transparent",
        help="A phone in a network namespace of its own, the proxy on its way (root, Linux).",
    ),
]
_Carrier = Annotated[
    Literal["mitmproxy", "haproxy"],
    typer.Option(help="Who carries the bytes; HAProxy 2.6 must be installed for it."),
]
_Interface = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="With --transparent: real phones come in by this one."),
]
_OldPhones = Annotated[
    bool,
    typer.Option(
        "--old-phones",
        help="TLS 1.0 and RSA, for Android 4, iOS 6, Windows Mobile; CA in DIR/old-phones.",
    ),
]
_Work = Annotated[
    Path, typer.Option(metavar="DIR", help="Where configuration, directory, journal and logs go.")
]
_Certs = Annotated[
    Path, typer.Option(metavar="DIR", help="Where the lab's CA and certificates go.")
]
_Listen = Annotated[
    str, typer.Option(metavar="ADDRESS", help="The address that the proxy listens on.")
]
_Port = Annotated[
    int, typer.Option(metavar="PORT", min=0, max=65535, help="Its port; 0: any free one.")
]
_Name = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A further name for its certificate; may repeat."),
]


def lab(
    keep: _Keep = False,
    carrier: _Carrier = "mitmproxy",
    transparent: _Transparent = False,
    interface: _Interface = None,
    old_phones: _OldPhones = False,
    json: JsonOption = False,
    work: _Work = Path(".lab"),
    certs: _Certs = Path("certs"),
    listen: _Listen = LOOPBACK,
    port: _Port = 0,
    name: _Name = None,
) -> None:
    """See the main job work in miniature, with phones, on loopback.

    Everything is made here and ends with the command. Exit code 0: every outcome as expected; 1:
    not so; 2: the lab cannot work with these options; 3: a part of it did not start.
    """
    if os.name != "posix":
        fail("lab: it needs Linux or macOS; on Windows run it in WSL", USAGE)
    if interface and not transparent:
        fail("lab: --interface goes with --transparent", USAGE)
    if transparent and carrier == "haproxy":
        fail("lab: --transparent goes with --carrier mitmproxy only", USAGE)
    if old_phones and carrier == "haproxy":
        fail("lab: --old-phones goes with --carrier mitmproxy only", USAGE)
    from eas_redirect.lab.runner import LabSettings

    own_address = () if listen in (*ANY_ADDRESS, LOOPBACK) else (listen,)
    settings = LabSettings(
        work=work,
        certificates=certs / "old-phones" if old_phones else certs,
        listen=listen,
        port=port,
        carrier=carrier,
        transparent=transparent,
        interface=interface,
        old_phones=old_phones,
        names=tuple(dict.fromkeys((*(name or ()), *own_address))),
    )
    good = _run(settings, keep=keep, as_json=json)
    raise typer.Exit(GOOD if good else FINDINGS)


def _run(settings: "LabSettings", *, keep: bool, as_json: bool) -> bool:
    """The whole lab; whether everything was as expected. A failure is one message."""
    from eas_redirect.lab.keep import PartEndedError
    from eas_redirect.lab.placement import NamespaceError
    from eas_redirect.lab.processes import NotStartedError
    from eas_redirect.lab.runner import Lab, WorkDirectoryError

    _end_as_by_ctrl_c(signal.SIGTERM, signal.SIGHUP)
    try:
        with Lab(settings, _say) as running:
            good = _walk(running, as_json=as_json)
            if keep:
                host = settings.names[0] if settings.names else "localhost"
                _keep(running, host, as_json=as_json)
    except KeyboardInterrupt:
        fail("lab: ended before all was done", INTERRUPTED)
    except (WorkDirectoryError, NamespaceError) as error:
        fail(f"lab: {error}", USAGE)
    except (NotStartedError, PartEndedError) as error:
        fail(f"lab: {error}", UNREACHABLE)
    return good


def _walk(running: "Lab", *, as_json: bool) -> bool:
    """Walk the people, print what came of it; whether all was as expected."""
    from eas_redirect.lab import outcome

    rows = running.walk()
    if as_json:
        print_json(outcome.outcome_json(rows, running.journal))
    else:
        outcome.print_outcome(console(), rows, running.journal, running.proxy.child.name)
    return all(row.as_expected for row in rows)


def _keep(running: "Lab", host: str, *, as_json: bool) -> None:
    from eas_redirect.lab import keep

    with keep.phone_page(running, host) as page:
        text = keep.instructions(running, host, page)
        print(text, file=sys.stderr if as_json else sys.stdout, flush=True)
        if sys.stdout.isatty() and keep.is_for_phones(running, host):
            print(keep.qr_text(page) or "", flush=True)
        keep.wait(running)
    _say("ended")


def _end_as_by_ctrl_c(*numbers: signal.Signals) -> None:
    """So that a service manager or a closed terminal also ends everything that was started."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


def _say(text: str) -> None:
    tell(f"lab: {text}")
