"""What an exchange shows of the usual troubles, beyond its statuses: read once, from the flow.

A sign is coarse on purpose: exchanges that show the same are one line of a timeline.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from mitmproxy import http

from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.activesync.multipart import MULTIPART
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import MAX_BODY
from eas_redirect.activesync.wbxml import ACTIVESYNC_TYPES, WBXML_TYPES, Element, WBXMLError, parse
from eas_redirect.proxy import flows

SKEW_S = 300  # Kerberos and certificates bear five minutes
_SKEW_STEP_S = 300
EARLY = 0.5  # of the wait that was asked for: without a change nothing ends before
AT_ONCE_S = 10.0  # a change may come at any time, but not in every ten seconds
_ACTIVESYNC = WBXML_TYPES | {MULTIPART}
_MOVED = frozenset({301, 302, 303, 307, 308})
_SYNC, _PING, _PROVISION, _FOLDERS = 0, 13, 14, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """`called`: the host. `asked_s`: how long a Ping or Sync was to wait. `skew_s`: by how much the
    server's clock differs, in steps of five minutes, 0 for less than five."""

    called: str | None = None
    collection_statuses: tuple[int, ...] = ()  # of Sync, other than 1
    wipe: str | None = None  # device, account
    page: bool = False  # something else where WBXML belongs, mostly HTML
    page_at: str | None = None  # where a redirect of the web leads
    versions_missing: bool = False  # in an answer to OPTIONS
    retry_after: str | None = None
    asked_s: int | None = None
    early: bool = False
    first_key: bool = False  # SyncKey 0: starts over
    skew_s: int = 0
    logon_sent: bool = True
    logon_wanted: bool = False  # WWW-Authenticate in the answer
    version_sent: bool = True


def signs_of(
    flow: http.HTTPFlow, request: EASRequest, eas_status: int | None, waited_s: float | None
) -> Signs:
    sent, answer = _root(flow.request), flow.response
    told = None if answer is None else _root(answer)
    asked_s = _asked_s(sent)
    header = {} if answer is None else {k.lower(): v for k, v in answer.headers.items()}
    status = 0 if answer is None else answer.status_code
    versions = {"ms-asprotocolversions", "x-ms-asprotocolversions"}
    return Signs(
        called=flows.called_host(flow),
        collection_statuses=_collection_statuses(told),
        wipe=_wipe(told),
        page=status == 200 and _is_page(flow, request, told),
        page_at=header.get("location", "?") if status in _MOVED else None,
        versions_missing=(
            status == 200 and request.method == "OPTIONS" and versions.isdisjoint(header)
        ),
        retry_after=header.get("retry-after"),
        asked_s=asked_s,
        early=request.command == "Ping" and _is_early(eas_status, asked_s, waited_s),
        first_key=_begins_anew(sent),
        skew_s=_skew_s(flow),
        logon_sent="authorization" in flow.request.headers,
        logon_wanted="www-authenticate" in header,
        version_sent=request.method != "POST" or request.protocol_version is not None,
    )


def _is_page(flow: http.HTTPFlow, request: EASRequest, told: Element | None) -> bool:
    """Whether 200 came with something else than ActiveSync. GetAttachment answers in any type
    (MS-ASCMD 2.2.1.8); an empty answer is one of ActiveSync's own."""
    if flow.response is None:
        return False
    kind = _media_type(flow.response)
    if kind == "text/html":
        return True
    if request.method != "POST" or request.command == "GetAttachment":
        return False
    if not flow.response.raw_content or kind in _ACTIVESYNC:
        return False
    return kind != "" or told is None


def _is_early(eas_status: int | None, asked_s: int | None, waited_s: float | None) -> bool:
    """MS-ASCMD 2.2.3.177.11: 1 says that the whole wait has passed, 2 that something changed."""
    if not asked_s or waited_s is None:
        return False
    match eas_status:
        case 1:
            return waited_s < asked_s * EARLY
        case 2:
            return waited_s < min(AT_ONCE_S, asked_s * EARLY)
        case _:
            return False


def _root(message: http.Message) -> Element | None:
    body = message.raw_content
    if not body or len(body) > MAX_BODY or _media_type(message) not in ACTIVESYNC_TYPES | {""}:
        return None
    coding = message.headers.get("Content-Encoding", "identity").strip().lower()
    try:
        return parse(inflated(body, coding, MAX_BODY)).root
    except (InflateError, WBXMLError):
        return None


def _media_type(message: http.Message) -> str:
    kind: str = message.headers.get("Content-Type", "")
    return kind.partition(";")[0].strip().lower()


def _texts(root: Element | None, page: int, name: str) -> list[str]:
    """Of the elements of this name anywhere in it."""
    if root is None:
        return []
    found, waiting = [], [root]
    while waiting:
        at = waiting.pop()
        if (at.page, at.name) == (page, name):
            found.append("".join(c for c in at.children if isinstance(c, str)).strip())
        waiting.extend(at.elements)
    return found


def _number(texts: list[str]) -> int | None:
    return int(texts[0]) if texts and texts[0].isdecimal() and len(texts[0]) <= 6 else None


def _asked_s(sent: Element | None) -> int | None:
    """MS-ASCMD 2.2.3.79 (seconds) and 2.2.3.182 (Wait, minutes)."""
    if sent is None:
        return None
    page = _PING if sent.page == _PING else _SYNC
    seconds = _number(_texts(sent, page, "HeartbeatInterval"))
    minutes = _number(_texts(sent, _SYNC, "Wait"))
    return seconds if seconds is not None else None if minutes is None else minutes * 60


def _collection_statuses(told: Element | None) -> tuple[int, ...]:
    if told is None or (told.page, told.name) != (_SYNC, "Sync"):
        return ()
    found: set[int] = set()
    for collections in told.elements:
        for collection in collections.elements:
            for item in collection.elements:
                if (item.page, item.name) == (_SYNC, "Status"):
                    text = "".join(c for c in item.children if isinstance(c, str)).strip()
                    found.add(int(text) if text.isdecimal() and len(text) <= 3 else 1)
    return tuple(sorted(found - {1}))


def _wipe(told: Element | None) -> str | None:
    """MS-ASPROV 2.2.2.45 and 2.2.2.1."""
    if told is None or told.page != _PROVISION:
        return None
    if _texts(told, _PROVISION, "AccountOnlyRemoteWipe"):
        return "account"
    return "device" if _texts(told, _PROVISION, "RemoteWipe") else None


def _begins_anew(sent: Element | None) -> bool:
    return "0" in _texts(sent, _SYNC, "SyncKey") or "0" in _texts(sent, _FOLDERS, "SyncKey")


def _skew_s(flow: http.HTTPFlow) -> int:
    if flow.response is None:
        return 0
    try:
        told = parsedate_to_datetime(flow.response.headers.get("Date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0
    skew = told - flow.response.timestamp_start
    return round(skew / _SKEW_STEP_S) * _SKEW_STEP_S if abs(skew) >= SKEW_S else 0
