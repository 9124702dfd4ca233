"""Signs of common problems in an exchange, beyond its statuses: read once, from the flow.

A sign is coarse on purpose: exchanges with the same signs become one line of a timeline.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

from mitmproxy import http

from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.activesync.multipart import MULTIPART, split_parts
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import MAX_BODY, ROOTS
from eas_redirect.activesync.wbxml import ACTIVESYNC_TYPES, WBXML_TYPES, Element, WBXMLError, parse
from eas_redirect.autodiscover.document import MAX_BYTES, DocumentError, XMLElement, read_document
from eas_redirect.proxy import flows

SKEW_S = 300  # Kerberos and certificates bear five minutes
_SKEW_STEP_S = 300
EARLY = 0.5  # of the wait that was asked for: without a change nothing ends before
AT_ONCE_S = 10.0  # a change may come at any time, but not in every ten seconds
_ACTIVESYNC = WBXML_TYPES | {MULTIPART}
_HTML = (b"<html", b"<!doctype html")
_MOVED = frozenset({301, 302, 303, 307, 308})
_SYNC, _PING, _PROVISION, _FOLDERS = 0, 13, 14, 7
# Commands that Exchange answers without a body when there is nothing to say (MS-ASCMD 2.2.1.21 and
# 2.2.1.17 to 2.2.1.20), or with a body of another kind.
_MAY_BE_EMPTY = frozenset({"Sync", "SendMail", "SmartForward", "SmartReply", "GetAttachment"})
MOST_REPEATS = 3
MOST_RESTARTS = 5
MOST_RETURNS = 3
_MOST_AGENTS = 8  # of one device
# What a device asks all day, always as the same program.
_ALL_DAY = frozenset({"FolderSync", "Sync", "Ping"})
_MOST_KEYS = 50_000  # collections whose keys are remembered at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """`called`: the host. `asked_s`: how long a Ping or Sync was to wait. `skew_s`: by how much the
    server's clock differs, in steps of five minutes, 0 for less than five."""

    called: str | None = None
    collection_statuses: tuple[int, ...] = ()  # of Sync, other than 1
    wipe: str | None = None  # device, account
    wiped: int | None = None  # the Status that the device gives a wipe
    page: str | None = None  # what stands where WBXML belongs: HTML, or another type
    page_at: str | None = None  # where a redirect of the web leads
    versions_missing: bool = False  # in an answer to OPTIONS
    retry_after: str | None = None
    throttle: str | None = None  # X-MS-ASThrottle: why Exchange holds this device off
    asked_s: int | None = None
    early: bool = False
    item_statuses: tuple[int, ...] = ()  # below the global one: of items, stores, settings
    cut_off: bool = False  # the answer had begun, and did not end
    empty: bool = False  # 200 without the body that this command's answer always has
    first_key: bool = False  # SyncKey 0: starts over
    repeats: int = 0  # see `SyncKeys`
    restarts: int = 0
    policy_statuses: tuple[int, ...] = ()  # of the policies in a Provision, other than 1
    acknowledged: int | None = None  # the Status that the device gives a policy
    policy_key: Literal["sent", "zero", "missing"] = "missing"  # X-MS-PolicyKey of the request
    skew_s: int = 0
    logon_sent: bool = True
    token_sent: bool = False  # a Bearer, which is valid for a time
    handshake_sent: bool = False  # NTLM or Negotiate, which take several requests
    agent_returns: int = 0  # see `Agents`
    agent: str | None = None  # the User-Agent, once one has returned
    discovered: str | None = None  # Autodiscover's 200: settings, or what came in their place
    logon_wanted: bool = False  # WWW-Authenticate in the answer
    version_sent: bool = True


class SyncKeys:
    """The keys that a device sends, compared with the answers to them: do answers arrive?"""

    def __init__(self) -> None:
        self._sent: dict[tuple[str | None, ...], tuple[str, int]] = {}
        self._begun: dict[tuple[str | None, ...], int] = {}

    def repeats(
        self, who: tuple[str | None, ...], sent: Element | None, told: Element | None
    ) -> tuple[int, int]:
        """How often in a row a key is sent again although it was answered with the next one, and
        how often the device has started at 0: up to MOST_REPEATS and MOST_RESTARTS, for the
        worst collection."""
        repeats = restarts = 0
        asked = _keys_of(sent)
        for collection, key in _keys_of(told).items():
            if (own := asked.get(collection)) is None or own == key:
                continue
            at = (*who, collection)
            before, count = self._sent.pop(at, ("", 0))
            count = count + 1 if before == own else 0
            _remember(self._sent, at, (own, count))
            repeats = max(repeats, count)
            if own == "0":
                begun = self._begun.pop(at, 0) + 1
                _remember(self._begun, at, begun)
                restarts = max(restarts, begun)
        return min(repeats, MOST_REPEATS), min(restarts, MOST_RESTARTS)


class Agents:
    """The User-Agents of a device: does an earlier one return? An update changes it once and for
    good; two phones that share an id take turns."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, ...], tuple[str, frozenset[str], int]] = {}

    def returns(self, who: tuple[str | None, ...], agent: str) -> int:
        """How often so far, up to MOST_RETURNS."""
        last, earlier, count = self._known.pop(who, (agent, frozenset(), 0))
        if agent != last:
            count += agent in earlier
            if len(earlier) < _MOST_AGENTS:
                earlier |= {last, agent}
        _remember(self._known, who, (agent, earlier, count))
        return min(count, MOST_RETURNS)


def _remember[T](
    known: dict[tuple[str | None, ...], T], at: tuple[str | None, ...], value: T
) -> None:
    known[at] = value
    if len(known) > _MOST_KEYS:
        del known[next(iter(known))]


def _keys_of(root: Element | None) -> dict[str, str]:
    """The SyncKey of each collection, where its Status is none or 1; of FolderSync under "".

    MS-ASCMD 2.2.3.166.2 and 2.2.3.181.5.
    """
    if root is None:
        return {}
    if (root.page, root.name) == (_FOLDERS, "FolderSync"):
        own = {item.name: item.text.strip() for item in root.elements if item.page == _FOLDERS}
        return {"": own["SyncKey"]} if "SyncKey" in own and own.get("Status", "1") == "1" else {}
    if (root.page, root.name) != (_SYNC, "Sync"):
        return {}
    found: dict[str, str] = {}
    for collections in root.elements:
        for collection in collections.elements:
            own = {item.name: item.text.strip() for item in collection.elements}
            if "SyncKey" in own and own.get("Status", "1") == "1":
                found[own.get("CollectionId", "?")] = own["SyncKey"]
    return found


def signs_of(
    flow: http.HTTPFlow,
    request: EASRequest,
    eas_status: int | None,
    waited_s: float | None,
    keys: SyncKeys,
    agents: Agents,
) -> Signs:
    sent, answer = _root(flow.request), flow.response
    told = None if answer is None else _root(answer)
    asked_s = _asked_s(sent)
    header = {} if answer is None else {k.lower(): v for k, v in answer.headers.items()}
    status = 0 if answer is None else answer.status_code
    versions = {"ms-asprotocolversions", "x-ms-asprotocolversions"}
    who = (flows.called_host(flow), request.device_id, request.user)
    repeats, restarts = keys.repeats(who, sent, told) if status == 200 else (0, 0)
    scheme = flow.request.headers.get("authorization", "").partition(" ")[0].lower()
    agent = flow.request.headers.get("user-agent", "")
    returns = agents.returns(who, agent) if request.command in _ALL_DAY else 0
    return Signs(
        called=flows.called_host(flow),
        collection_statuses=_collection_statuses(told),
        wipe=_wipe(told),
        wiped=_wiped(sent),
        page=_page(flow, request, told) if status == 200 else None,
        page_at=header.get("location", "?") if status in _MOVED else None,
        versions_missing=(
            status == 200 and request.method == "OPTIONS" and versions.isdisjoint(header)
        ),
        retry_after=header.get("retry-after"),
        throttle=header.get("x-ms-asthrottle"),
        asked_s=asked_s,
        early=_is_early(flow, request.command, eas_status, asked_s, waited_s),
        item_statuses=_item_statuses(told),
        cut_off=answer is not None and flow.error is not None,
        empty=status == 200 and _is_empty(flow, request),
        first_key=_starts_over(sent),
        repeats=repeats,
        restarts=restarts,
        policy_statuses=_policy_statuses(told),
        acknowledged=_acknowledged(sent),
        policy_key=_policy_key(flow, request),
        skew_s=_skew_s(flow),
        logon_sent="authorization" in flow.request.headers,
        token_sent=scheme == "bearer",
        handshake_sent=scheme in ("ntlm", "negotiate"),
        agent_returns=returns,
        agent=agent if returns else None,
        logon_wanted="www-authenticate" in header,
        version_sent=request.method != "POST" or request.protocol_version is not None,
    )


def _page(flow: http.HTTPFlow, request: EASRequest, told: Element | None) -> str | None:
    """What came with 200 in place of ActiveSync. GetAttachment answers with any type (MS-ASCMD
    2.2.1.8); an empty answer is valid ActiveSync."""
    if flow.response is None:
        return None
    kind = _media_type(flow.response)
    if kind == "text/html":
        return "HTML"
    if request.method != "POST" or request.command == "GetAttachment":
        return None
    body = flow.response.raw_content
    if not body or kind in _ACTIVESYNC or (kind == "" and told is not None):
        return None
    return "HTML" if body.lstrip()[:14].lower().startswith(_HTML) else kind or "something"


def _is_empty(flow: http.HTTPFlow, request: EASRequest) -> bool:
    if request.command not in ROOTS or request.command in _MAY_BE_EMPTY:
        return False
    if flow.error is not None:  # it was cut off on the way
        return False
    return flow.response is not None and flow.response.raw_content == b""


def _is_early(
    flow: http.HTTPFlow,
    command: str | None,
    eas_status: int | None,
    asked_s: int | None,
    waited_s: float | None,
) -> bool:
    """MS-ASCMD 2.2.3.177.11: 1 says that the whole wait has passed, 2 that something changed.
    Sync expresses the former by an answer without a body (2.2.1.21)."""
    if not asked_s or waited_s is None:
        return False
    at_once = waited_s < min(AT_ONCE_S, asked_s * EARLY)
    match command, eas_status:
        case "Ping", 1:
            return waited_s < asked_s * EARLY
        case "Ping", 2:
            return at_once
        case "Sync", None:
            return at_once and flow.response is not None and flow.response.raw_content == b""
        case _:
            return False


def _root(message: http.Message) -> Element | None:
    body, kind = message.raw_content, _media_type(message)
    if not body or len(body) > MAX_BODY or kind not in ACTIVESYNC_TYPES | {"", MULTIPART}:
        return None
    coding = message.headers.get("Content-Encoding", "identity").strip().lower()
    try:
        plain = inflated(body, coding, MAX_BODY)
        return parse(split_parts(plain)[0] if kind == MULTIPART else plain).root
    except (InflateError, WBXMLError, ValueError):
        return None


def _media_type(message: http.Message) -> str:
    kind: str = message.headers.get("Content-Type", "")
    return kind.partition(";")[0].strip().lower()


def _texts(root: Element | None, page: int, name: str) -> list[str]:
    """The texts of all elements with this name."""
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


# Where a command's answer keeps the Status of each thing that it was asked for, below the root, and
# which of them are in order (MS-ASCMD 2.2.3.177). "*" is any element.
_ITEMS: dict[tuple[int, str], tuple[tuple[tuple[str, ...], frozenset[int]], ...]] = {
    (0, "Sync"): ((("Collections", "Collection", "Responses", "*"), frozenset({1})),),
    (5, "MoveItems"): ((("Response",), frozenset({3})),),
    (6, "GetItemEstimate"): ((("Response",), frozenset({1})),),
    (8, "MeetingResponse"): ((("Result",), frozenset({1})),),
    (15, "Search"): ((("Response", "Store"), frozenset({1, 12})),),  # 12: the end of the range
    (18, "Settings"): ((("*",), frozenset({1})),),
    (20, "ItemOperations"): ((("Response", "*"), frozenset({1})),),
}


def _item_statuses(told: Element | None) -> tuple[int, ...]:
    """Those that are not in order."""
    if told is None:
        return ()
    found: set[int] = set()
    for way, good in _ITEMS.get((told.page, told.name), ()):
        level = [told]
        for name in way:
            level = [e for at in level for e in at.elements if name in ("*", e.name)]
        texts = [e.text.strip() for at in level for e in at.elements if e.name == "Status"]
        found |= {int(s) for s in texts if s.isdecimal() and len(s) <= 3} - good
    return tuple(sorted(found))


def _wipe(told: Element | None) -> str | None:
    """MS-ASPROV 2.2.2.45 and 2.2.2.1."""
    if told is None or told.page != _PROVISION:
        return None
    if _texts(told, _PROVISION, "AccountOnlyRemoteWipe"):
        return "account"
    return "device" if _texts(told, _PROVISION, "RemoteWipe") else None


def _wiped(sent: Element | None) -> int | None:
    """MS-ASPROV 2.2.2.54.3: 1 done, 2 failed."""
    if sent is None or (sent.page, sent.name) != (_PROVISION, "Provision"):
        return None
    wipes = [e for e in sent.elements if e.name in ("RemoteWipe", "AccountOnlyRemoteWipe")]
    return _number([e.text.strip() for w in wipes for e in w.elements if e.name == "Status"])


def _policy_statuses(told: Element | None) -> tuple[int, ...]:
    """MS-ASPROV 2.2.2.54.1: each policy has a Status of its own below that of the command."""
    if told is None or (told.page, told.name) != (_PROVISION, "Provision"):
        return ()
    policies = [p for e in told.elements if e.name == "Policies" for p in e.elements]
    texts = [e.text.strip() for policy in policies for e in policy.elements if e.name == "Status"]
    return tuple(sorted({int(s) for s in texts if s.isdecimal() and len(s) <= 3} - {1}))


def _acknowledged(sent: Element | None) -> int | None:
    """MS-ASPROV 2.2.2.54.2: 1 the whole policy, 2 a part of it, 3 none, 4 managed elsewhere."""
    if sent is None or (sent.page, sent.name) != (_PROVISION, "Provision"):
        return None
    policies = [p for e in sent.elements if e.name == "Policies" for p in e.elements]
    return _number([e.text.strip() for p in policies for e in p.elements if e.name == "Status"])


def _policy_key(flow: http.HTTPFlow, request: EASRequest) -> Literal["sent", "zero", "missing"]:
    """MS-ASHTTP 2.2.1.1.2.6; a query in base64 has a place for it."""
    if request.has_policy_key:
        return "sent"
    has_place = "x-ms-policykey" in flow.request.headers or request.query_encoding == "base64"
    return "zero" if has_place else "missing"


def _starts_over(sent: Element | None) -> bool:
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


def discovered(response: http.Response) -> str | None:
    """What a 200 of Autodiscover holds: "settings", "redirect", "error 600", "no answer of
    Autodiscover"; None if that is not known (MS-ASCMD 2.2.1.1.2)."""
    if response.status_code != 200 or response.raw_content is None:
        return None
    kind = response.headers.get("Content-Type", "")
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    try:
        root = read_document(inflated(response.raw_content, coding, MAX_BYTES), kind)
    except (DocumentError, InflateError):
        return "no answer of Autodiscover"
    return _discovered(root)


def _discovered(root: XMLElement) -> str:
    found: dict[str, str] = {}
    waiting = [root]
    while waiting:
        at = waiting.pop()
        found.setdefault(at.name, at.text.strip())
        waiting.extend(at.children)
    if "Settings" in found or "Redirect" in found:
        return "settings" if "Settings" in found else "redirect"
    code = found.get("ErrorCode") or found.get("Status") or ""
    if "Error" in found:
        return f"error {code}" if code.isdecimal() and len(code) <= 4 else "an error"
    return "no answer of Autodiscover"
