"""`eas-redirect haproxy`: the files with which HAProxy carries and asks the judge."""

from pathlib import Path
from typing import Annotated

import typer

from eas_redirect.cli.common import DEFAULT_CONFIG, USAGE, ConfigOption, fail, load, tell

PATIENCE_S = 10.0


def haproxy(
    config: ConfigOption = DEFAULT_CONFIG,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the files are written.")
    ] = Path("haproxy"),
    phones: Annotated[
        int, typer.Option(min=10, max=1_000_000, metavar="N", help="Phones that wait at once.")
    ] = 4000,
    admin_socket: Annotated[
        str, typer.Option(metavar="PATH", help="HAProxy's own socket for administrators.")
    ] = "/run/haproxy/eas-admin.sock",
    chroot: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For a HAProxy with `chroot`, such as /var/lib/haproxy."),
    ] = None,
    old_tls: Annotated[
        bool, typer.Option("--old-tls", help="Exchange speaks nothing newer than TLS 1.0.")
    ] = False,
) -> None:
    """Write the files of a HAProxy 2.6 that carries and asks a judge.

    HAProxy then carries everything, and asks `eas-redirect judge` about the few answers that may
    be UserHasNoMailbox. Run it again after a change of [proxy], [judge], [exchange],
    [autodiscover], [journal] or directory.lookup_timeout_s, and reload HAProxy.

    Exit code 2 also when the HAProxy of this machine cannot run what was written.
    """
    from eas_redirect.checking.carrier import check_program, haproxy_program
    from eas_redirect.haproxy.files import Site, SiteError, written_files

    settings = load(config)
    site = Site(
        folder=output.absolute(),
        phones=phones,
        admin_socket=admin_socket,
        chroot=chroot,
        old_tls=old_tls,
    )
    try:
        files = written_files(settings, site)
        output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (output / name).write_text(text, "utf-8")
    except SiteError as error:
        fail(str(error), USAGE)
    except OSError as error:
        fail(f"{error.filename or output} cannot be written: {error.strerror}", USAGE)
    if settings.proxy.cert is None:
        tell("No proxy.cert: HAProxy will take phones without TLS, as behind a front that ends it.")
    if haproxy_program() is not None:
        found = check_program(PATIENCE_S)
        if found.state == "failed":
            fail(
                f"{', '.join(files)} are in {output}, and the HAProxy of this machine cannot run"
                f" them: {found.finding}. {found.advice}",
                USAGE,
            )
        if found.state == "warning":
            tell(f"The HAProxy of this machine: {found.finding}. {found.advice}")
    tell(f"{', '.join(files)} are in {output}: try them with haproxy -c -f {output}/haproxy.cfg")
