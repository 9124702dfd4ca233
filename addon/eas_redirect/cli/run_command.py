"""`eas-redirect run`: mitmproxy with the profile that this job needs, and its stops and workers."""

import contextlib
import shlex
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eas_redirect.cli.common import DEFAULT_CONFIG, USAGE, ConfigOption, fail, load
from eas_redirect.shim import find_shim

if TYPE_CHECKING:
    from eas_redirect.configuration.config import MetricsConfig, ProxyConfig
    from eas_redirect.configuration.kinds import Listen
    from eas_redirect.engine.command_line import Plan


def run(
    config: ConfigOption = DEFAULT_CONFIG,
    upstream: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The old Exchange, such as https://ex07.contoso.local."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", "-l", metavar="[HOST:]PORT", help="Where phones call."),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Private key, certificate and chain in one PEM file."),
    ] = None,
    upstream_ca: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="What its certificate is verified with."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes on the one port.")
    ] = None,
    stop_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="For exchanges under way when it stops."),
    ] = None,
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

    What an option does not say, the table [proxy] of the configuration says.

    SIGTERM stops it gracefully: no new connections, exchanges under way finish, waiting Pings are
    ended so that the phones ask again. SIGHUP opens the journal's file again.
    """
    settings = load(
        config,
        {
            "proxy.upstream": upstream,
            "proxy.listen": listen,
            "proxy.cert": cert,
            "proxy.upstream_ca": upstream_ca,
            "proxy.workers": workers,
            "proxy.stop_timeout_s": stop_timeout,
        },
    )
    plan = _plan(config, settings.proxy, options or [], stock=stock)
    if print_command:
        from eas_redirect.engine.command_line import mitmdump_arguments

        print(shlex.join(["mitmdump", *mitmdump_arguments(plan)]))
        return
    _read_certificates(settings.proxy, plan.further)
    _take_all_descriptors()
    workers, stop_timeout = settings.proxy.workers, settings.proxy.stop_timeout_s
    if stock and workers > 1:
        fail("--stock runs one process; leave out --workers, or set proxy.workers = 1", USAGE)
    if workers > 1:
        metrics = settings.metrics
        raise typer.Exit(_run_workers(plan, workers, stop_timeout, metrics))
    raise typer.Exit(_run_one(plan, stop_timeout, stock=stock))


def _plan(config: Path, proxy: "ProxyConfig", further: list[str], *, stock: bool) -> "Plan":
    from eas_redirect.configuration.sources import ENVIRONMENT_ALONE
    from eas_redirect.engine.command_line import Plan

    if proxy.upstream is None:
        fail(
            "Which Exchange? Set proxy.upstream in the configuration, or give --upstream URL.",
            USAGE,
        )
    script = find_shim()
    if script is None:
        fail("The script is missing beside the package; install eas-redirect again.", USAGE)
    return Plan(
        # Keep the link itself: it may be changed to lead elsewhere.
        config=config if config == ENVIRONMENT_ALONE else config.absolute(),
        upstream=proxy.upstream,
        listen=proxy.listen,
        script=script,
        certificate=proxy.cert,
        upstream_ca=proxy.upstream_ca,
        engine="stock" if stock else proxy.engine,
        further=further,
    )


def _read_certificates(proxy: "ProxyConfig", further: Sequence[str]) -> None:
    """What cannot be used is said in one sentence, and by no worker."""
    from eas_redirect.certificates.front import read_front
    from eas_redirect.certificates.x509 import CertificateFileError, read_trusted

    try:
        if proxy.upstream_ca is not None:
            read_trusted(proxy.upstream_ca)
        # mitmproxy has more than one option for the passphrase of an encrypted key.
        if proxy.cert is not None and not any("passphrase" in word for word in further):
            read_front(proxy.cert)
    except CertificateFileError as error:
        fail(f"{error}.", USAGE)


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
    from eas_redirect.engine import proxy_process
    from eas_redirect.engine.command_line import mitmdump_arguments

    with _held(plan.listen):
        pass  # only to say it in one sentence when the port cannot be had
    arguments = mitmdump_arguments(plan)
    return (
        proxy_process.run_stock(arguments)
        if stock
        else proxy_process.run(arguments, stop_timeout_s=stop_timeout)
    )


def _run_workers(plan: "Plan", workers: int, stop_timeout: float, metrics: "MetricsConfig") -> int:
    from eas_redirect.configuration.kinds import Listen
    from eas_redirect.engine.command_line import mitmdump_arguments, without_option
    from eas_redirect.engine.supervisor import Supervisor

    if not hasattr(socket, "SO_REUSEPORT"):
        fail("--workers needs a system whose processes can share a port, such as Linux", USAGE)
    # The pages are the supervisor's: it tells each worker an address of its own.
    pages, further = without_option("eas_metrics", plan.further)
    listen = pages or metrics.listen
    with _held(plan.listen) as held:
        port = held.getsockname()[1]
        plan = replace(plan, listen=Listen(plan.listen.host, port), further=further)
        supervisor = Supervisor(
            ["--stop-timeout", f"{stop_timeout:g}", "--", *mitmdump_arguments(plan)],
            workers=workers,
            stop_timeout_s=stop_timeout,
            metrics_listen=None if listen == "off" else listen,
            metrics_host_names=metrics.host_names,
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
