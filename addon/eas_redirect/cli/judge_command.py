"""`eas-redirect judge`: answers HAProxy's questions, with the configuration that `run` has."""

from typing import Annotated

import typer

from eas_redirect.cli.common import DEFAULT_CONFIG, USAGE, ConfigOption, fail, load


def judge(
    config: ConfigOption = DEFAULT_CONFIG,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen", metavar="unix:PATH", help="Where HAProxy asks, or a loopback HOST:PORT."
        ),
    ] = None,
) -> None:
    """Judge for a HAProxy that carries (`eas-redirect haproxy`).

    It runs on HAProxy's own machine, with the configuration, journal and pages that `run` has.

    SIGTERM stops it: what is under way is answered, and HAProxy lets Exchange's answers pass until
    it is back. SIGHUP opens the journal's file again.
    """
    from eas_redirect.configuration.config import ConfigError
    from eas_redirect.configuration.sources import ENVIRONMENT_ALONE
    from eas_redirect.directory.snapshot import SnapshotError
    from eas_redirect.haproxy import process
    from eas_redirect.haproxy.listener import ListenError

    options = {"judge.listen": listen}
    settings = load(config, options)
    if settings.proxy.upstream is None:
        fail("Which Exchange? Set proxy.upstream in the configuration.", USAGE)
    path = config if config == ENVIRONMENT_ALONE else config.absolute()
    given = {key: value for key, value in options.items() if value is not None}
    try:
        raise typer.Exit(process.run_judge(path, settings, given))
    except (ConfigError, SnapshotError, ListenError, OSError) as error:
        fail(f"eas-redirect judge cannot start: {error}", USAGE)
