"""`eas-redirect explain`: why a user, or the devices of a capture, are redirected or not."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
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
    check_asked,
    fail,
    is_folder,
    load,
    no_capture,
    print_json,
    print_lines,
    print_text,
    progress_bar,
    tell,
)

if TYPE_CHECKING:
    from eas_redirect.captures.capture import Captured, CaptureTrouble
    from eas_redirect.captures.device_timeline import Filter
    from eas_redirect.configuration.config import Config
    from eas_redirect.judging.explanation import AskedDevice, Explanation
    from eas_redirect.judging.judge import Judge


def explain_capture(
    path: Path,
    config: Path | None,
    against: Path | None,
    *,
    device: str | None,
    user: str | None,
    as_json: bool,
) -> int:
    """The exit code: 0 when nothing is wrong, 1 when there is a finding or a difference, 3 when the
    directory that would decide could not be asked."""
    from eas_redirect.captures.device_timeline import Filter

    wanted = Filter(device=device, user=user)
    if against is None:
        return _timelines(path, config, wanted, as_json=as_json)
    if config is None:
        fail("--against needs --config: it compares two configurations.", USAGE)
    return _differences(path, config, against, wanted, as_json=as_json)


def _timelines(path: Path, config: Path | None, wanted: "Filter", *, as_json: bool) -> int:
    from eas_redirect.captures import timeline_text as room
    from eas_redirect.captures.device_timeline import capture_report

    loaded = None if config is None else load(config)
    size = path.stat().st_size
    with _judge(loaded) as judge, progress_bar(path.name, size) as advance:
        whole = asyncio.run(capture_report(_exchanges(path, loaded, advance), judge, wanted))
    if as_json:
        print_json(room.capture_json(whole))
    else:
        print_lines(room.capture_lines(whole))
    if room.directory_was_unreachable(whole):
        return UNREACHABLE
    return FINDINGS if room.something_is_wrong(whole) else GOOD


def _differences(
    path: Path, config: Path, against: Path, wanted: "Filter", *, as_json: bool
) -> int:
    from eas_redirect.captures import timeline_text as room
    from eas_redirect.captures.timeline_text import compare

    one, other = load(config), load(against)
    bar = progress_bar(path.name, path.stat().st_size)
    with _judge(one) as now, _judge(other) as then, bar as advance:
        assert now is not None and then is not None  # noqa: S101, PT018 - both have a configuration
        before = _exchanges(path, one, advance)
        after = _exchanges(path, other, lambda _: None)
        changes, troubles = asyncio.run(compare(before, now, after, then, wanted))
    if as_json:
        print_json(room.changes_json(changes, troubles))
    else:
        print_lines(room.change_lines(changes, troubles))
    return FINDINGS if changes or troubles else GOOD


def _exchanges(
    path: Path, config: "Config | None", advance: Callable[[int], None]
) -> "Iterator[Captured | CaptureTrouble]":
    from eas_redirect.captures.capture import read_exchanges
    from eas_redirect.configuration.config import servers

    if config is None:
        return read_exchanges(path, progress=advance)
    weak = frozenset(config.exchange.weak_statuses)
    return read_exchanges(path, weak, config.exchange.trusted_proxies, advance, servers(config))


@contextmanager
def _judge(config: "Config | None") -> "Iterator[Judge | None]":
    """Decides as the service does, without a journal."""
    from eas_redirect.configuration.config import ConfigError
    from eas_redirect.directory.snapshot import SnapshotError
    from eas_redirect.judging.explanation import open_judge
    from eas_redirect.judging.wave_names import with_waves

    if config is None:
        yield None
        return
    try:
        judge = with_waves(open_judge(config))
    except (ConfigError, SnapshotError) as error:
        fail(str(error), USAGE)
    try:
        yield judge
    finally:
        judge.directory.close()


ASK_S = 3.0  # for a running proxy to say who waits
_CAPTURES = (".flow", ".flows", ".har", ".mitm")  # no name to log on with ends like these

_Subject = Annotated[
    str,
    typer.Argument(
        metavar="USER|CAPTURE",
        help="UPN, DOMAIN\\user, address or account name; or a flow file or HAR.",
    ),
]
_Version = Annotated[str, typer.Option(metavar="VERSION", help="What the device speaks.")]
_Type = Annotated[
    str | None, typer.Option(metavar="TYPE", help="As the device names itself; for waves.")
]
_Address = Annotated[
    str | None, typer.Option(metavar="IP", help="Where the device calls from; for waves.")
]
_Called = Annotated[
    str | None, typer.Option(metavar="HOST", help="The name by which it calls this proxy.")
]
_Device = Annotated[str | None, typer.Option(metavar="ID", help="Of a capture: only this device.")]
_User = Annotated[str | None, typer.Option(metavar="NAME", help="Of a capture: only this user.")]
_Against = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Of a capture: only what this one decides otherwise."),
]


def explain(
    context: typer.Context,
    subject: _Subject,
    config: ConfigOption = DEFAULT_CONFIG,
    protocol_version: _Version = "14.1",
    device_type: _Type = None,
    address: _Address = None,
    called: _Called = None,
    device: _Device = None,
    user: _User = None,
    against: _Against = None,
    as_json: JsonOption = False,
) -> None:
    """Show each step of the decision about a user or a capture.

    Of a capture (a flow file of mitmproxy, a HAR): what each device asked, how it was answered,
    how long it waited, and what the configuration named with --config decides about it.

    Exit code 0: redirected, or rightly not; 1: something has to be corrected; 2: usage or
    configuration; 3: the directory is out of reach.
    """
    if (capture := _capture(subject)) is not None:
        named = config if _is_given(context, "config") else None
        code = explain_capture(capture, named, against, device=device, user=user, as_json=as_json)
        raise typer.Exit(code)
    _refuse_options_of_captures(subject, device, user, against)
    check_asked(protocol_version, address, called)
    from eas_redirect.judging.explanation import AskedDevice

    made_up = AskedDevice(
        protocol_version=protocol_version,
        device_type=device_type,
        client_address=address,
        called_host=called,
    )
    raise typer.Exit(_explain_user(subject, config, made_up, as_json=as_json))


def _explain_user(user: str, config: Path, device: "AskedDevice", *, as_json: bool) -> int:
    """The exit code."""
    from eas_redirect.judging import explanation as room

    explanation = asyncio.run(_explain(load(config), user, device))
    if explanation.recipient is None:
        for hint in _hints(user, explanation.logon.format):
            tell(hint)
    if as_json:
        print_json(room.explanation_json(explanation))
    else:
        print_text("\n".join(room.explanation_lines(explanation)))
    return _exit_code(explanation)


def _hints(user: str, form: str) -> Iterator[str]:
    """What somebody may have meant by a name that nobody has."""
    from eas_redirect.configuration.user_list import blank_in

    if is_folder(user):
        yield f"{user} is a folder here. If you meant a capture in it, name the file."
    elif (odd := blank_in(user)) is not None:
        yield f"{odd}."
    elif form == "bare":
        yield (
            "If you meant DOMAIN\\user: a shell takes the backslash away, so quote 'DOMAIN\\user'."
        )


def _capture(subject: str) -> Path | None:
    """The subject as a file, if there is one of this name; a user's name may be any text."""
    with suppress(OSError, ValueError):
        return Path(subject) if Path(subject).is_file() else None
    return None


def _is_given(context: typer.Context, option: str) -> bool:
    """Whether an option is on the command line rather than at its default."""
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"


def _refuse_options_of_captures(
    subject: str, device: str | None, user: str | None, against: Path | None
) -> None:
    named = "@" not in subject and subject.lower().endswith(_CAPTURES)
    if subject in ("-", ".", "..") or "/" in subject or named or device or user or against:
        fail(no_capture(subject), USAGE)


async def _explain(config: "Config", user: str, device: "AskedDevice") -> "Explanation":
    from eas_redirect.configuration.config import ConfigError
    from eas_redirect.directory.snapshot import SnapshotError
    from eas_redirect.judging.explanation import explain_user, open_judge
    from eas_redirect.judging.wave_names import doubts, with_waves

    try:
        judge = await asyncio.to_thread(with_waves, open_judge(config))
    except (ConfigError, SnapshotError) as error:
        fail(str(error), USAGE)
    for doubt in doubts(judge.policy.wave):
        tell(doubt)
    try:
        explanation = await explain_user(judge, user, device)
    finally:
        judge.directory.close()
    if explanation is None:
        fail("This is no logon: write a UPN, DOMAIN\\user, an address or an account name.", USAGE)
    if config.redirect.end_waits == "off":
        return explanation
    waits = await asyncio.to_thread(_waits, config, explanation)
    return replace(explanation, waits=waits, watch_s=config.directory.watch_s)


def _waits(config: "Config", explanation: "Explanation") -> int | None:
    """How many devices of the user wait at the proxy that runs under this configuration; None: it
    does not say."""
    from eas_redirect.service.service import redaction_of
    from eas_redirect.telemetry.record import account_id
    from eas_redirect.telemetry.site import WAITS
    from eas_redirect.telemetry.web import ask_running

    recipient, listen = explanation.recipient, config.metrics.listen
    if recipient is None or listen is None:
        return None
    account = redaction_of(config).name(account_id(recipient.dn))
    with suppress(OSError, ValueError):  # of JSON as well: somebody else listens there
        status, body = ask_running(listen, "/waits", ASK_S)
        if status == 200 and account is not None:
            return WAITS.validate_json(body).get(account, 0)
    return None


def _exit_code(explanation: "Explanation") -> int:
    from eas_redirect.policy.reasons import in_order

    if explanation.judgement.out_of_reach:
        return UNREACHABLE
    return GOOD if in_order(explanation.judgement.verdict.reason) else FINDINGS
