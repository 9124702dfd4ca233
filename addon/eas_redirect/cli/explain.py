"""`eas-redirect explain`: why a user, or the devices of a capture, are redirected or not."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from eas_redirect.cli.common import (
    DEFAULT_CONFIG,
    FINDINGS,
    GOOD,
    UNREACHABLE,
    USAGE,
    ConfigOption,
    JsonOption,
    fail,
    load,
    print_json,
)

if TYPE_CHECKING:
    from eas_redirect.config import Config
    from eas_redirect.explain import Device, Explanation


def explain(
    subject: Annotated[
        str,
        typer.Argument(metavar="USER", help="UPN, DOMAIN\\user, address or account name."),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    protocol_version: Annotated[
        str, typer.Option(metavar="VERSION", help="What the device speaks.")
    ] = "14.1",
    device_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="As the device names itself; for waves.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="IP", help="Where the device calls from; for waves.")
    ] = None,
    called: Annotated[
        str | None, typer.Option(metavar="HOST", help="The name by which it calls this proxy.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show each step from a logon to the location, with what was asked and found.

    Exit code 0: redirected, or rightly not; 1: something is to be mended; 2: usage or
    configuration; 3: the directory is out of reach.
    """
    from eas_redirect import explain as room

    device = room.Device(
        protocol_version=protocol_version,
        device_type=device_type,
        client_address=address,
        called_host=called,
    )
    explanation = asyncio.run(_explain(load(config), subject, device))
    if as_json:
        print_json(room.as_json(explanation))
    else:
        print("\n".join(room.in_lines(explanation)))
    raise typer.Exit(_exit_code(explanation))


async def _explain(config: "Config", user: str, device: "Device") -> "Explanation":
    from eas_redirect.config import ConfigError
    from eas_redirect.directory.snapshot import SnapshotError
    from eas_redirect.explain import explain_user, open_redirector

    try:
        redirector = open_redirector(config)
    except (ConfigError, SnapshotError) as error:
        fail(str(error), USAGE)
    try:
        explanation = await explain_user(redirector, user, device)
    finally:
        redirector.directory.close()
    if explanation is None:
        fail("This is no logon: write a UPN, DOMAIN\\user, an address or an account name.", USAGE)
    return explanation


def _exit_code(explanation: "Explanation") -> int:
    from eas_redirect.explain import IN_ORDER
    from eas_redirect.policy.decision import Reason

    reason = explanation.judgement.verdict.reason
    if reason is Reason.DIRECTORY_UNAVAILABLE:
        return UNREACHABLE
    return GOOD if reason in IN_ORDER else FINDINGS
