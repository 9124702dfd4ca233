"""`eas-redirect run`: mitmproxy with the profile that this job needs, and its stops and workers."""

import contextlib
import shlex
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eas_redirect.cli.common import DEFAULT_CONFIG, USAGE, ConfigOption, fail, load
from eas_redirect.shim import find

if TYPE_CHECKING:
    from eas_redirect.engine.command_line import Listen, Plan

MAX_WORKERS = 64


def run(
    upstream: Annotated[
        str,
        typer.Option(metavar="URL", help="The old Exchange, such as https://ex07.contoso.local."),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    listen: Annotated[
        str, typer.Option("--listen", "-l", metavar="[HOST:]PORT", help="Where phones call.")
    ] = "443",
    cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Private key, certificate and chain in one PEM file."),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, max=MAX_WORKERS, help="Processes on the one port.")
    ] = 1,
    stop_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, max=3600, help="For exchanges under way when it stops."
        ),
    ] = 25.0,
    stock: Annotated[
        bool, typer.Option("--stock", help="Run plain mitmdump: slower, stops at once.")
    ] = False,
    print_command: Annotated[
        bool, typer.Option("--print-command", help="Print the equivalent mitmdump line and end.")
    ] = False,
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="MITMDUMP_OPTION", help="For mitmdump, after a --."),
    ] = None,
) -> None:
    """Run the proxy in front of an old Exchange.

    SIGTERM stops it gracefully: no new connections, exchanges under way finish, waiting Pings are
    ended so that the phones ask again. SIGHUP opens the journal's file anew.
    """
    plan = _plan(config, upstream, listen, cert, options or [])
    if print_command:
        from eas_redirect.engine.command_line import mitmdump_arguments

        print(shlex.join(["mitmdump", *mitmdump_arguments(plan)]))
        return
    _take_all_descriptors()
    if stock and workers > 1:
        fail("--stock runs one process; leave out --workers", USAGE)
    if workers > 1:
        raise typer.Exit(_run_workers(plan, workers, stop_timeout))
    raise typer.Exit(_run_one(plan, stop_timeout, stock=stock))


def _plan(
    config: Path, upstream: str, listen: str, cert: Path | None, further: list[str]
) -> "Plan":
    from eas_redirect.engine.command_line import (
        Plan,
        UsageError,
        check_certificate,
        parse_listen,
        parse_upstream,
    )

    load(config)  # whatever is wrong with it is said before anything starts
    script = find()
    if script is None:
        fail("The script is missing beside the package; install eas-redirect again.", USAGE)
    try:
        if cert is not None:
            check_certificate(cert)
        return Plan(
            config=config.absolute(),  # never what a link leads to now: it may be led elsewhere
            upstream=parse_upstream(upstream),
            listen=parse_listen(listen),
            script=script,
            certificate=cert.absolute() if cert else None,
            further=further,
        )
    except UsageError as error:
        fail(str(error), USAGE)


def _take_all_descriptors() -> None:
    """A waiting phone holds two. The usual soft limit of 1024 is for programs that use select()."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):  # a system that gives less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run_one(plan: "Plan", stop_timeout: float, *, stock: bool) -> int:
    from eas_redirect.engine import process
    from eas_redirect.engine.command_line import mitmdump_arguments

    with _held(plan.listen):
        pass  # only to say it in one sentence when the port cannot be had
    arguments = mitmdump_arguments(plan)
    return (
        process.run_stock(arguments)
        if stock
        else process.run(arguments, stop_timeout_s=stop_timeout)
    )


def _run_workers(plan: "Plan", workers: int, stop_timeout: float) -> int:
    from eas_redirect.engine.command_line import Listen, mitmdump_arguments
    from eas_redirect.engine.supervisor import Supervisor

    if not hasattr(socket, "SO_REUSEPORT"):
        fail("--workers needs a system whose processes can share a port, such as Linux", USAGE)
    with _held(plan.listen) as held:
        plan = replace(plan, listen=Listen(plan.listen.host, held.getsockname()[1]))
        supervisor = Supervisor(
            ["--stop-timeout", f"{stop_timeout:g}", "--", *mitmdump_arguments(plan)],
            workers=workers,
            stop_timeout_s=stop_timeout,
            metrics_listen=load(plan.config).metrics.listen,
        )
        return supervisor.run()


def _held(listen: "Listen") -> socket.socket:
    from eas_redirect.engine.command_line import reserve

    try:
        return reserve(listen)
    except OSError as error:
        advice = (
            "run it as a service that may (AmbientCapabilities=CAP_NET_BIND_SERVICE), or choose "
            "a port above 1023"
            if isinstance(error, PermissionError)
            else "choose another port or address, or end what has it"
        )
        where = f"{listen.host or '*'}:{listen.port}"
        fail(f"--listen {where}: {error.strerror}; {advice}", USAGE)
