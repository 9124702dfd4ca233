"""The mitmproxy options that this job needs, each with its reason: data, and one pure review of it.

The addon sets what the user left alone and warns about the rest; `eas-redirect run` passes the
whole table on the command line; `check` and the reference print it. Imports nothing of mitmproxy.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

type OptionValue = bool | int | str
type ProxyMode = Literal["any", "reverse"]

LONGEST_WAIT_S = 3600  # a Ping may wait 3540 s without a byte (MS-ASCMD 2.2.3.79.1)
WHOLE_EVIDENCE = 64 * 1024  # bytes of an answer that must stay readable; see activesync.response


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One option with the value that the job needs. `at_least`: a larger value is fine too
    (seconds, or bytes written as mitmproxy does: `64k`). `mode`: `reverse` if it only matters, or
    is only safe, in reverse mode."""

    option: str
    value: OptionValue
    reason: str
    mode: ProxyMode = "any"
    at_least: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """An option that is safe at its default and harms EAS when changed."""

    option: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What to set because nobody else did, and one sentence for each harmful setting."""

    to_set: dict[str, OptionValue]
    warnings: tuple[str, ...]


SETTINGS = (
    Setting(
        option="tcp_timeout",
        value=4200,
        at_least=LONGEST_WAIT_S,
        reason="a Ping or Sync may wait 3540 s without a byte; less cuts it off",
    ),
    Setting(
        option="connection_strategy",
        value="lazy",
        reason="eager connects before the request: with Exchange down a device gets an empty"
        " answer, not one that tells it to come back",
    ),
    Setting(
        option="keep_host_header",
        value=True,
        mode="reverse",
        reason="otherwise the name that the device called is lost, and with it the loop guard",
    ),
    Setting(
        option="http2",
        value=False,
        reason="an HTTP/2 client gets a new upstream connection for every request, and NTLM and"
        " Negotiate belong to a connection",
    ),
    Setting(
        option="http3",
        value=False,
        reason="the same; in front of an https server mitmproxy listens for it too",
    ),
    Setting(
        option="websocket",
        value=False,
        reason="frames are taken apart, put together again and kept in memory; without it an"
        " upgraded connection is a plain tunnel",
    ),
    Setting(
        option="stream_large_bodies",
        value="64k",
        at_least=WHOLE_EVIDENCE,
        reason="an answer of unknown length is held in memory until its end; below 64k the answers"
        " to be judged go by unread",
    ),
    Setting(
        option="keep_alt_svc_header",
        value=True,
        mode="reverse",
        reason="otherwise Alt-Svc headers are rewritten",
    ),
    Setting(
        option="block_global",
        value=False,
        mode="reverse",
        reason="the default refuses devices that come from public addresses",
    ),
    Setting(
        option="onboarding",
        value=False,
        reason="requests for the host mitm.it would be answered by mitmproxy itself",
    ),
    Setting(
        option="flow_detail",
        value=0,
        reason="a printed line for each exchange costs time and mixes with a journal on standard"
        " output",
    ),
)

KEEP_BODIES = (
    Setting(
        option="store_streamed_bodies",
        value=True,
        reason="eas_bodies=keep: streamed bodies are kept for views and captures",
    ),
)

_PASSED_BY = "connections that match it never reach the addon: no redirects, no journal"
_CHANGED = "it changes what crosses the proxy"

HAZARDS = (
    Hazard(option="body_size_limit", reason="greater mails and attachments are refused"),
    Hazard(
        option="store_streamed_bodies",
        reason="every body stays in memory until its exchange ends; use eas_bodies=keep",
    ),
    Hazard(
        option="validate_inbound_headers", reason="ambiguous message lengths would be forwarded"
    ),
    Hazard(option="rawtcp", reason="upgraded connections are closed"),
    Hazard(option="ignore_hosts", reason=_PASSED_BY),
    Hazard(option="allow_hosts", reason=_PASSED_BY),
    Hazard(option="tcp_hosts", reason=_PASSED_BY),
    Hazard(option="ssl_insecure", reason="anybody between here and Exchange can read passwords"),
    Hazard(option="proxyauth", reason="devices cannot log on to a proxy"),
    Hazard(option="anticache", reason=_CHANGED),
    Hazard(option="anticomp", reason=_CHANGED),
    Hazard(option="modify_body", reason=_CHANGED),
    Hazard(option="modify_headers", reason=_CHANGED),
    Hazard(option="map_local", reason=_CHANGED),
    Hazard(option="map_remote", reason=_CHANGED),
    Hazard(option="block_list", reason=_CHANGED),
    Hazard(option="stickyauth", reason="one user's logon would be sent for another"),
    Hazard(option="stickycookie", reason="one user's cookies would be sent for another"),
    Hazard(option="upstream_auth", reason="it would replace the devices' own logons"),
    Hazard(option="server_replay", reason="recorded answers would be given in Exchange's place"),
)


def settings(*, keep_bodies: bool = False, reverse: bool = True) -> tuple[Setting, ...]:
    """The settings for a mode. With kept bodies, memory is no longer bounded."""
    return tuple(
        s for s in (*SETTINGS, *(KEEP_BODIES if keep_bodies else ())) if reverse or s.mode == "any"
    )


def advice_on_udp(port: int) -> str:
    """What to do about the UDP port that mitmproxy opens besides a reverse proxy's TCP port."""
    return (
        f"mitmproxy listens on UDP port {port} too, in front of an https server: strangers' "
        "datagrams fill its memory. Close it in the firewall: nft add rule inet filter input udp "
        f"dport {port} drop (`eas-redirect run` opens none)."
    )


def arguments(*, keep_bodies: bool = False) -> list[str]:
    """The settings of a reverse proxy as arguments for mitmdump."""
    return [
        word
        for s in settings(keep_bodies=keep_bodies)
        for word in ("--set", f"{s.option}={_text(s.value)}")
    ]


def review(
    options: Mapping[str, object],
    changed: Collection[str],
    *,
    said: Collection[str] = (),
    reverse: bool,
    keep_bodies: bool = False,
) -> Review:
    """What to set and what to say, given the current options.

    `changed`: names of the options that differ from mitmproxy's defaults. `said`: those that the
    user has set, even to mitmproxy's default: they stay, and cause a warning if they do harm.
    Options that this flavour of mitmproxy lacks are left out.
    """
    by_user = {*changed, *said}
    known = [s for s in settings(keep_bodies=keep_bodies, reverse=reverse) if s.option in options]
    to_set = {
        s.option: s.value
        for s in known
        if s.option not in by_user and not _serves(s, options[s.option])
    }
    clashes = (_clash(s, options[s.option]) for s in known if s.option in by_user)
    needed = {s.option for s in known}
    harmful = (
        f"{h.option} is set: {h.reason}."
        for h in HAZARDS
        if h.option in options and h.option in changed and h.option not in needed
    )
    return Review(to_set=to_set, warnings=(*_without_none(clashes), *harmful))


def _clash(setting: Setting, value: object) -> str | None:
    if _serves(setting, value):
        return None
    wanted = _text(setting.value)
    return f"{setting.option}={_text(value)}: {setting.reason}. Set {setting.option}={wanted}."


def _serves(setting: Setting, value: object) -> bool:
    if _text(value) == _text(setting.value):  # a file may have given a number as text
        return True
    size = _size(value)
    return setting.at_least is not None and size is not None and size >= setting.at_least


def _size(value: object) -> int | None:
    """A number, or mitmproxy's spelling of one (`64k`); None when it is neither."""
    text = str(value).strip().lower()
    factor = {"k": 1024, "m": 1024**2, "g": 1024**3}.get(text[-1:], 1)
    digits = text.rstrip("bkmg") if factor > 1 else text
    return int(digits) * factor if digits.isdecimal() else None


def _text(value: object) -> str:
    """As `--set` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_none(texts: Iterable[str | None]) -> Iterable[str]:
    return (text for text in texts if text is not None)
