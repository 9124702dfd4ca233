"""Prepared captures, each with the findings that are right for it: all of them, one a cause."""

import base64
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http

from eas_redirect.activesync.response import ROOTS
from eas_redirect.activesync.wbxml import Document, Element, element, write
from eas_redirect.captures.capture import read_exchanges
from eas_redirect.captures.complaints import Complaint, complaints
from eas_redirect.captures.device_timeline import Filter, capture_report
from eas_redirect.captures.timeline_text import capture_lines
from eas_redirect.redaction.redact import redact
from tests.activesync.vectors import VECTORS
from tests.captures.captures import START, WBXML, eas_flow, status, write_flows, write_har

TARGET = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
type Flows = list[http.HTTPFlow]


def folders(at: float = 0, number: int = 1) -> http.HTTPFlow:
    return eas_flow(at, body=status(7, "FolderSync", number))


def cut_off(flow: http.HTTPFlow) -> http.HTTPFlow:
    flow.error = mitmproxy_flow.Error("peer closed connection", START)
    return flow


def sync(at: float, number: int | None = None, **more: object) -> http.HTTPFlow:
    """`number`: the Status inside the collection."""
    body = b""
    if number is not None:
        collection = element(0, "Collection", element(0, "Status", str(number)))
        body = write(Document(element(0, "Sync", element(0, "Collections", collection))))
    return eas_flow(at, "Sync", body=body, **more)  # type: ignore[arg-type]


def ping(
    at: float, number: int = 1, *, asked: int | None = None, waited: float = 470, **more: object
) -> http.HTTPFlow:
    sent = b""
    if asked is not None:
        sent = write(Document(element(13, "Ping", element(13, "HeartbeatInterval", str(asked)))))
    more.setdefault("body", status(13, "Ping", number))
    headers = {"Content-Type": WBXML}
    return eas_flow(at, "Ping", sent=sent, waited=waited, asked=headers, **more)  # type: ignore[arg-type]


def code(
    number: int, count: int = 1, *, at: float = 50, headers: dict[str, str] | None = None,
    body: bytes = b"", command: str = "Sync", user: str | None = "CONTOSO\\anna",
) -> Flows:  # fmt: skip
    return [
        eas_flow(at + n, command, code=number, headers=headers, body=body, user=user)
        for n in range(count)
    ]


def provision(at: float, *children: object) -> http.HTTPFlow:
    root = element(14, "Provision", element(14, "Status", "1"), *children)  # type: ignore[arg-type]
    return eas_flow(at, "Provision", body=write(Document(root)))


def wants_policy(count: int, number: int = 142, at: float = 10) -> Flows:
    return [eas_flow(at + n, body=status(7, "FolderSync", number)) for n in range(count)]


def policy(at: float, number: int, acknowledged: int | None = None) -> http.HTTPFlow:
    """`number`: the Status of the policy in the answer; of the command it is 1."""
    told = element(14, "Policy", element(14, "Status", str(number)))
    found = provision(at, element(14, "Policies", told))
    if acknowledged is not None:
        own = element(14, "Policy", element(14, "Status", str(acknowledged)))
        sent = element(14, "Provision", element(14, "Policies", own))
        found.request.content = write(Document(sent))
        found.request.headers["Content-Type"] = WBXML
    return found


def key_sent(at: float, sent: str, told: str, *, folder: str = "5") -> http.HTTPFlow:
    """A Sync with one key, answered with the next."""
    bodies = [
        write(Document(element(0, "Sync", element(0, "Collections", element(
            0, "Collection", element(0, "SyncKey", key), element(0, "CollectionId", folder),
            element(0, "Status", "1"))))))
        for key in (sent, told)
    ]  # fmt: skip
    asked = {"Content-Type": WBXML}
    return eas_flow(at, "Sync", sent=bodies[0], body=bodies[1], asked=asked)


def folder_key(at: float, sent: str, told: str) -> http.HTTPFlow:
    bodies = [
        write(Document(element(7, "FolderSync", element(7, "Status", "1"),
                               element(7, "SyncKey", key))))
        for key in (sent, told)
    ]  # fmt: skip
    return eas_flow(at, sent=bodies[0], body=bodies[1], asked={"Content-Type": WBXML})


def waiting_sync(at: float, waited: float) -> http.HTTPFlow:
    sent = write(Document(element(0, "Sync", element(0, "HeartbeatInterval", "900"))))
    return eas_flow(at, "Sync", sent=sent, waited=waited, asked={"Content-Type": WBXML})


def cut_sync(at: float, waited: float) -> http.HTTPFlow:
    sent = write(Document(element(0, "Sync", element(0, "Wait", "15"))))
    return eas_flow(at, "Sync", sent=sent, code=None, waited=waited, asked={"Content-Type": WBXML})


def redirected_by_us(at: float, host: str) -> http.HTTPFlow:
    found = eas_flow(at, code=451)
    found.metadata["eas"] = {
        "event": {"reason": "mailbox_moved"},
        "eas": {
            "decision": "redirect",
            "evidence": "certain",
            "upstream": {"status_code": 200, "status": 123},
            "redirect": {"location": f"https://{host}/Microsoft-Server-ActiveSync"},
        },
    }
    return found


def in_turn(*hosts: str, rounds: int, questions: bool = False) -> Flows:
    """Each sends the device on to the next, the last one to the first."""
    found: Flows = []
    for n in range(rounds * len(hosts)):
        here, there = hosts[n % len(hosts)], hosts[(n + 1) % len(hosts)]
        if questions:
            asked = options(MS_ASProtocolVersions="14.1")
            asked.request.timestamp_start = START + n * 10
            asked.client_conn.id = f"connection {n}"
            found += at_host(here, [asked])
        sent_on = moved(1, f"https://{there}/Microsoft-Server-ActiveSync", at=n * 10 + 5)
        sent_on[0].client_conn.id = f"connection {n}"
        found += at_host(here, sent_on)
    return found


def at_host(host: str, flows: Iterable[http.HTTPFlow]) -> Flows:
    moved = list(flows)
    for flow in moved:
        flow.request.headers["Host"] = host
    return moved


def moved(count: int, location: str | None = TARGET, at: float = 20) -> Flows:
    headers = {} if location is None else {"X-MS-Location": location}
    return [eas_flow(at + n, code=451, headers=headers) for n in range(count)]


def bare(flow: http.HTTPFlow, name: str) -> http.HTTPFlow:
    del flow.request.headers[name]
    return flow


def skewed(minutes: int) -> Flows:
    return skewed_by(minutes, [folders(), sync(5)])


def skewed_by(minutes: int, flows: Flows) -> Flows:
    for flow in flows:
        assert flow.response is not None
        told = datetime.fromtimestamp(START + minutes * 60, UTC)
        flow.response.headers["Date"] = format_datetime(told, usegmt=True)
    return flows


def with_token(flow: http.HTTPFlow) -> http.HTTPFlow:
    claims = base64.urlsafe_b64encode(b'{"upn": "anna@contoso.example"}').decode().rstrip("=")
    flow.request.headers["Authorization"] = f"Bearer eyJhbGciOiJub25lIn0.{claims}.c2ln"
    return flow


def failing(count: int, error: str) -> Flows:
    """OPTIONS and FolderSync in turn, none of which arrives."""
    flows = [
        eas_flow(n * 20 + 60, None if n % 2 else "FolderSync", code=None) for n in range(count)
    ]
    for flow in flows:
        assert flow.error is not None
        flow.error.msg = error
    return flows


def doubled(flow: http.HTTPFlow) -> Flows:
    flow.request.path = flow.request.path.replace("User=anna", "User=carl")
    return [flow]


def alternating(every: int, waited: float) -> Flows:
    pings = [ping(n * every, 2, asked=900, waited=waited) for n in range(8)]
    return [x for n, one in enumerate(pings) for x in (one, sync(n * every + waited + 2))]


def gave_up(ping: http.HTTPFlow) -> http.HTTPFlow:
    assert ping.error is not None
    ping.error.msg = "Client disconnected."
    return ping


def interrupted(count: int, ages: Callable[[int], float], error: str | None = None) -> Flows:
    """Pings that end before their time, each followed by a Sync."""
    pings = [ping(n * 1000, code=None, waited=ages(n), asked=900) for n in range(count)]
    for one in pings if error is None else ():
        gave_up(one)
    return [x for n, one in enumerate(pings) for x in (one, sync(n * 1000 + ages(n) + 1))]


def options(**headers: str) -> http.HTTPFlow:
    return eas_flow(0, None, headers={name.replace("_", "-"): v for name, v in headers.items()})


def asked(command: str, answer: Element, at: float = 0, *, count: int = 1) -> Flows:
    return [
        eas_flow(at + n * 30, command, body=write(Document(answer))) for n in range(count)
    ]  # fmt: skip


def said(
    page: int, command: str, number: int, *, count: int, way: tuple[str, ...], at: float = 20
) -> Flows:
    """A good answer whose `way` leads to a Status of its own."""
    inner = element(page, "Status", str(number))
    for name in reversed(way):
        inner = element(page, name, inner)
    return asked(command, element(page, command, inner), at, count=count)


def refused(command: str, number: int, count: int = 1) -> Flows:
    page = ROOTS[command][0]
    return [eas_flow(20 + n * 60, command, body=status(page, command, number))
            for n in range(count)]  # fmt: skip


def in_turns(*flows: http.HTTPFlow, agents: tuple[str, ...]) -> Flows:
    for n, flow in enumerate(flows):
        flow.request.headers["User-Agent"] = agents[n % len(agents)]
    return list(flows)


def broken_off(count: int, body: bytes | None, at: float = 20) -> Flows:
    """As mitmproxy keeps an answer that stops in the middle."""
    flows = [cut_off(eas_flow(at + n * 20, "Sync")) for n in range(count)]
    for flow in flows:
        assert flow.response is not None
        flow.response.raw_content = body
    return flows


def handshakes(count: int) -> Flows:
    """NTLM's first and third message, each refused."""
    return [
        eas_flow(n * 20 + kind, code=401, headers={"WWW-Authenticate": "NTLM"}, asked={
            "Authorization": "NTLM " + base64.b64encode(
                b"NTLMSSP\0" + bytes([kind, 0, 0, 0, 7, 2]) + bytes(40)).decode()})
        for n in range(count) for kind in (1, 3)
    ]  # fmt: skip


def question(
    at: float, answer: bytes = b"", host: str = "autodiscover.contoso.example",
    number: int = 200, kind: str = "text/xml; charset=utf-8",
) -> http.HTTPFlow:  # fmt: skip
    """A phone asks Autodiscover, before it speaks ActiveSync."""
    found = eas_flow(at, code=number, body=answer, headers={"Content-Type": kind})
    found.request.path = "/autodiscover/autodiscover.xml"
    found.request.headers["Host"] = host
    found.request.headers["Content-Type"] = "text/xml"
    found.request.content = (
        f'<Autodiscover xmlns="{SPACE}/mobilesync/requestschema/2006"><Request>'
        "<EMailAddress>anna@contoso.example</EMailAddress><AcceptableResponseSchema>"
        f"{SPACE}/mobilesync/responseschema/2006</AcceptableResponseSchema>"
        "</Request></Autodiscover>"
    ).encode()
    return found


def told(action: str) -> bytes:
    return (
        f'<Autodiscover xmlns="{SPACE}/responseschema/2006"><Response'
        f' xmlns="{SPACE}/mobilesync/responseschema/2006"><Action>{action}</Action></Response>'
        "</Autodiscover>"
    ).encode()


def good_weeks() -> Flows:
    """Two phones' worth of mail, and what goes wrong now and then without anybody noticing."""
    flows: Flows = [*GOOD]
    for n in range(300):
        at = 100 + n * 600
        flows += [
            ping(at, 2, asked=470, waited=100),
            key_sent(at + 101, str(n), str(n + 1)),
            *said(
                20,
                "ItemOperations",
                6 if n % 100 == 7 else 1,
                count=1,
                way=("Response", "Fetch"),
                at=at + 110,
            ),
        ]
        if n % 10 == 0:
            flows += said(
                5, "MoveItems", 1 if n % 100 == 20 else 3, count=1, way=("Response",), at=at + 120
            )
            flows += said(15, "Search", 1, count=1, way=("Response", "Store"), at=at + 125)
        if n % 100 == 50:
            flows += [
                *code(401, at=at + 200),
                gave_up(cut_off(eas_flow(at + 210, "ItemOperations"))),
                eas_flow(at + 220, "SmartReply", body=status(21, "SmartReply", 150)),
                eas_flow(at + 221, "SendMail"),
                *said(
                    0,
                    "Sync",
                    8,
                    count=1,
                    way=("Collections", "Collection", "Responses", "Change"),
                    at=at + 230,
                ),
                eas_flow(at + 240, body=status(7, "FolderSync", 1), waited=35),
                *(eas_flow(at + 300 + k, body=status(7, "FolderSync", 1)) for k in range(4)),
                eas_flow(at + 320, "Sync", body=status(0, "Sync", 149)),
            ]
    for flow in flows:
        if flow.error is not None:
            flow.error.msg = "Client disconnected."
    return flows  # fmt: skip


def probe(number: int) -> http.HTTPFlow:
    """A balancer looks whether somebody is there."""
    found = eas_flow(0, None, user=None, code=number)
    found.request.method = "GET"
    return found


def plain(kind: str, body: bytes, command: str = "Sync") -> Flows:
    return [eas_flow(0, command, body=body, headers={"Content-Type": kind})]


AT_HOME = {"Location": "https://mail.contoso.example/Microsoft-Server-ActiveSync"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
ASKED = {"WWW-Authenticate": "Basic realm=x"}
GOOD = [folders(), sync(5)]
SPACE = "http://schemas.microsoft.com/exchange/autodiscover"
SETTINGS = told(
    "<Settings><Server><Type>MobileSync</Type>"
    f"<Url>{AT_HOME['Location']}</Url><Name>{AT_HOME['Location']}</Name></Server></Settings>"
)
NOT_READ = (
    f'<Autodiscover xmlns="{SPACE}/responseschema/2006"><Response><Error><ErrorCode>600</ErrorCode>'
    "<Message>Invalid Request</Message></Error></Response></Autodiscover>"
).encode()
TWO_PHONES = ("Apple-iPhone12C1/1902.67", "Apple-iPhone14C2/2001.55")
NEW_HOST = "eas.fabrikam.example"
NEW = f"https://{NEW_HOST}/Microsoft-Server-ActiveSync"
WIPE = element(14, "RemoteWipe")
ACCOUNT_WIPE = element(14, "AccountOnlyRemoteWipe")

CASES: dict[str, tuple[Callable[[], Flows], list[str]]] = {
    "mail": (lambda: [folders(), sync(5), sync(9, 1)], []),
    "a day of Pings": (lambda: [folders(), *(ping(n * 480, asked=470) for n in range(1, 9))], []),
    "Pings and Syncs": (
        lambda: alternating(90, 60),
        [],
    ),
    "changes all the time": (
        lambda: alternating(9, 1),
        ["ping_at_once"],
    ),
    "NTLM's handshake": (
        lambda: [*code(401, 2, at=0, headers={"WWW-Authenticate": "NTLM"}, user=None), sync(9)], [],
    ),
    "policy taken on": (lambda: [*wants_policy(1), provision(15), folders(20), sync(25)], []),
    "policy by 449": (lambda: [*code(449), provision(55), sync(60)], []),
    "one key lost": (lambda: [folders(), sync(5, 3), sync(9, 1)], []),
    "a heartbeat corrected": (lambda: [ping(0, 5, waited=1), ping(5)], []),
    "folders asked again": (lambda: [ping(0, 7, waited=1), folders(5), ping(9)], []),
    "redirected by Exchange, once": (lambda: moved(1), []),
    "redirected and gone": (
        lambda: [*moved(3), *at_host("outlook.office365.com", [folders(90), sync(95)])], [],
    ),
    "password changed": (lambda: [*GOOD, *code(401, 4)], ["password_changed"]),
    "refused twice": (lambda: [*GOOD, *code(401, 2)], ["logon_refused"]),
    "never logged on": (lambda: code(401, 3), ["never_logged_on"]),
    "refused once": (lambda: code(401), ["never_logged_on"]),
    "Authorization stripped": (
        lambda: code(401, 3, user=None, headers=ASKED), ["authorization_missing"],
    ),
    "the new server takes no password": (
        lambda: [*moved(1), *at_host("outlook.office365.com", code(401, 3))],
        ["new_server_refuses_logon"],
    ),
    "403": (lambda: code(403, 2, command="FolderSync"), ["forbidden"]),
    "403 after mail": (lambda: [*GOOD, *code(403)], ["forbidden"]),
    "456": (lambda: code(456), ["account_blocked"]),
    "456 at the new server": (
        lambda: [*moved(1), *at_host("outlook.office365.com", code(456, 2))], ["account_blocked"],
    ),
    "457": (lambda: code(457), ["password_expired"]),
    "457 at the new server": (
        lambda: [*moved(1), *at_host("outlook.office365.com", code(457))], ["password_expired"],
    ),
    "remote wipe": (
        lambda: [*wants_policy(1, 140), provision(15, WIPE), provision(16)], ["remote_wipe"],
    ),
    "remote wipe, status only": (lambda: wants_policy(4, 140), ["remote_wipe"]),
    "account-only wipe": (
        lambda: [*wants_policy(1, 140), provision(15, ACCOUNT_WIPE)], ["account_wipe"],
    ),
    "449 loop": (lambda: code(449, 4), ["provisioning_loop"]),
    "142 loop with Provision": (
        lambda: [x for n in range(4) for x in (*wants_policy(1, at=n * 10), provision(n * 10 + 5))],
        ["provisioning_loop"],
    ),
    "a policy wanted at the end": (lambda: [folders(), *code(449)], ["policy_wanted"]),
    "400": (lambda: code(400, 3), ["bad_request"]),
    "404": (lambda: code(404), ["not_found"]),
    "413": (lambda: code(413, command="SendMail"), ["too_large"]),
    "501": (lambda: code(501), ["not_implemented"]),
    "505": (lambda: code(505), ["version_not_supported"]),
    "507": (lambda: code(507), ["mailbox_full"]),
    "500": (lambda: code(500, 3), ["server_errors"]),
    "502 once": (lambda: [*GOOD, *code(502)], ["server_errors"]),
    "a storm of 503": (lambda: code(503, 9, headers={"Retry-After": "120"}), ["server_busy"]),
    "503 without a word": (lambda: code(503, 4), ["server_errors"]),
    "status 111": (lambda: [sync(0), folders(5, 111)], ["server_errors"]),
    "a log-on page": (
        lambda: code(302, 2, headers={"Location": "/owa/auth/logon.aspx"}), ["logon_page"],
    ),
    "a captive portal": (
        lambda: code(302, 2, headers={"Location": "http://portal.fabrikam.example/login"}),
        ["captive_portal"],
    ),
    "HTML with 200": (
        lambda: code(200, 2, headers=HTML, body=b"<html>sign in</html>"), ["web_page"],
    ),
    "Ping 2 and no Sync": (lambda: [ping(n, 2, waited=1) for n in range(6)], ["ping_changes_loop"]),
    "Ping 5 loop": (lambda: [ping(n, 5, waited=1) for n in range(4)], ["ping_heartbeat_loop"]),
    "Pings that return at once": (
        lambda: [ping(n, 1, waited=1, asked=900) for n in range(7)], ["ping_at_once"],
    ),
    "Pings cut at 300 s": (
        lambda: [ping(n * 400, code=None, waited=300 + n / 10, asked=900) for n in range(4)],
        ["wait_cut_short"],
    ),
    "Pings cut by 504": (
        lambda: [ping(n * 400, code=504, body=b"", waited=60, asked=470) for n in range(3)],
        ["wait_cut_short"],
    ),
    "a Ping cut at 600 s": (lambda: [ping(0, code=None, waited=600.02)], ["wait_cut_short"]),
    "one Ping without an answer": (lambda: [*GOOD, ping(9, code=None, waited=31)], ["no_answer"]),
    "a FolderSync without an answer": (lambda: [eas_flow(0, code=None)], ["no_answer"]),
    "Sync 3 loop": (lambda: [sync(n, 3) for n in range(4)], ["sync_key_loop"]),
    "Sync 4": (lambda: [sync(0, 4)], ["sync_protocol_error"]),
    "Sync 8": (lambda: [sync(0, 8)], ["sync_object_gone"]),
    "Sync 9": (lambda: [sync(0, 9)], ["mailbox_full"]),
    "Sync 12": (lambda: [sync(0, 12), sync(5, 12)], ["sync_folders_changed"]),
    "Sync 13": (lambda: [sync(0, 13)], ["sync_incomplete"]),
    "FolderSync 9 loop": (lambda: [folders(n, 9) for n in range(4)], ["folder_key_loop"]),
    "status 126": (lambda: [folders(0, 126)], ["blocked"]),
    "status 127": (lambda: [folders(0, 127)], ["blocked"]),
    "status 128": (lambda: [folders(0, 128)], ["blocked"]),
    "status 129": (lambda: [folders(0, 129)], ["blocked"]),
    "status 130": (lambda: [folders(0, 130)], ["blocked"]),
    "status 177": (lambda: [folders(0, 177)], ["too_many_devices"]),
    "status 113": (lambda: [folders(0, 113)], ["mailbox_full"]),
    "clock ahead": (lambda: skewed(20), ["clock_skew"]),
    "clock behind": (lambda: skewed(-61), ["clock_skew"]),
    "clock good": (lambda: skewed(1), []),
    "version stripped": (lambda: [bare(sync(0), "MS-ASProtocolVersion")], ["version_missing"]),
    "451 back": (
        lambda: moved(3, "https://mail.contoso.example/Microsoft-Server-ActiveSync"),
        ["redirect_to_itself"],
    ),
    "451 without a location": (lambda: moved(3, None), ["redirect_without_location"]),
    "does not follow": (lambda: moved(5), ["redirect_not_followed"]),
    "no mailbox": (lambda: [eas_flow(0, body=VECTORS["FolderSync"])], ["user_has_no_mailbox"]),
    "somebody else in the query": (lambda: doubled(sync(0)), ["contradiction"]),
    "no bodies": (lambda: [eas_flow(0, body=None)], ["bodies_missing"]),
    "a device ends its own waits": (lambda: interrupted(9, lambda n: 100.0 + 13 * n), []),
    "waits that break at any age": (
        lambda: interrupted(5, lambda n: 300.0 + 77 * n, "reset"), ["no_answer"],
    ),
    "waits cut at one age, and one that the device ended": (
        lambda: [*interrupted(4, lambda n: 299.0 + n / 10, "reset"),
                 *(gave_up(ping(9000, code=None, waited=77, asked=900)), sync(9100))],
        ["wait_cut_short"],
    ),
    "Sync 12, and the folders asked for": (
        lambda: [*GOOD, sync(10, 12), folders(12), sync(15, 1)], [],
    ),
    "Sync 13, and the whole request": (lambda: [*GOOD, sync(10, 13), sync(12, 1)], []),
    "Sync 8, once": (lambda: [*GOOD, sync(10, 8), folders(12), sync(15, 1)], []),
    "Sync 14, and a shorter wait": (lambda: [*GOOD, sync(10, 14), sync(12, 1)], []),
    "Sync 13 again and again": (
        lambda: [x for n in range(4) for x in (sync(n * 9, 13), sync(n * 9 + 4, 1))],
        ["sync_incomplete"],
    ),
    "Ping 3, and its parameters": (lambda: [*GOOD, ping(10, 3, waited=1), ping(12)], []),
    "Ping 6, and fewer folders": (lambda: [*GOOD, ping(10, 6, waited=1), ping(12)], []),
    "Ping 8": (lambda: [*GOOD, ping(10, 8, waited=1)], ["other_trouble"]),
    "details told": (lambda: [folders(0, 165), provision(5), folders(9), sync(12)], []),
    "details not told": (
        lambda: [folders(n, 165) for n in range(3)], ["device_information_wanted"],
    ),
    "sent on to TLS": (lambda: code(301, 2, headers=AT_HOME), ["web_redirect"]),
    "sent on to another ActiveSync": (
        lambda: code(308, headers={"Location": TARGET}), ["web_redirect"],
    ),
    "a network that wants a logon": (
        lambda: code(511, 2, headers=HTML, body=b"<html>"), ["captive_portal"],
    ),
    "a proxy that wants a logon": (lambda: code(407, 2), ["proxy_logon"]),
    "too many requests": (lambda: code(429, 2, headers={"Retry-After": "60"}), ["server_busy"]),
    "405": (lambda: code(405), ["method_not_allowed"]),
    "a text with 200": (lambda: plain("text/plain", b"OK"), ["web_page"]),
    "JSON with 200": (lambda: plain("application/json", b"{}"), ["web_page"]),
    "a page of no type": (lambda: plain("", b"<html>sign in</html>"), ["web_page"]),
    "WBXML of no type": (lambda: plain("", status(0, "Sync", 1)), []),
    "an attachment": (lambda: plain("image/png", b"\x89PNG", "GetAttachment"), []),
    "OPTIONS": (lambda: [options(MS_ASProtocolVersions="14.1"), *GOOD], []),
    "OPTIONS answered by a front": (lambda: [options(Allow="OPTIONS"), *GOOD],
                                    ["versions_missing"]),
    "a balancer's question": (lambda: [probe(401), *GOOD], []),
    "a browser": (lambda: [probe(505)], []),
    "the new server takes the logon in the end": (
        lambda: [*moved(1), *at_host("outlook.office365.com", [*code(401, 2), sync(90)])], [],
    ),
    "a password entered again": (lambda: [*GOOD, *code(401, 4), sync(90)], []),
    "two servers, each of which sends to the other": (
        lambda: in_turn("mail.contoso.example", "mail.fabrikam.example", rounds=6),
        ["redirect_circle"],
    ),
    "once round": (
        lambda: in_turn("mail.contoso.example", "mail.fabrikam.example", rounds=1),
        ["redirect_circle"],
    ),
    "three servers in a circle": (
        lambda: in_turn("a.contoso.example", "b.contoso.example", "c.contoso.example", rounds=2),
        ["redirect_circle"],
    ),
    "a circle with OPTIONS between": (
        lambda: in_turn("mail.contoso.example", "mail.fabrikam.example", rounds=9, questions=True),
        ["redirect_circle"],
    ),
    "moved there and back": (
        lambda: [
            *in_turn("mail.contoso.example", "mail.fabrikam.example", rounds=1),
            folders(90), sync(95),
        ],
        [],
    ),
    "Sync 16 for ever": (lambda: [sync(n, 16) for n in range(6)], ["sync_retry"]),
    "Sync 16, once": (lambda: [*GOOD, sync(10, 16), sync(15, 1)], []),
    "a Status in a collection that nobody knows": (lambda: [sync(0, 41)], ["other_trouble"]),
    "FolderSync with nothing in it": (
        lambda: [folders(0), *(eas_flow(n * 20 + 9) for n in range(6))], ["empty_answers"],
    ),
    "FolderSync with nothing in it, once": (
        lambda: [*GOOD, eas_flow(900), folders(920)], ["empty_answers"],
    ),
    "FolderSync with nothing in it, since it was cut off": (
        lambda: [*GOOD, cut_off(eas_flow(900)), folders(920)], [],
    ),
    "Ping with nothing in it, at once": (
        lambda: [*GOOD, *(ping(n * 20 + 9, asked=900, waited=0.2, body=b"") for n in range(6))],
        ["empty_answers"],
    ),
    "Provision with nothing in it": (
        lambda: [eas_flow(n * 20, "Provision") for n in range(6)], ["empty_answers"],
    ),
    "an empty Sync says that nothing changed": (lambda: [sync(n * 60) for n in range(9)], []),
    "the same key for ever": (
        lambda: [key_sent(n * 600, "1", "2") for n in range(40)], ["answers_not_taken"],
    ),
    "the same key, with Pings between": (
        lambda: [
            x for n in range(8) for x in (ping(n * 900, 2), key_sent(n * 900 + 500, "1", "2"))
        ],
        ["answers_not_taken"],
    ),
    "an answer that was lost": (
        lambda: [key_sent(0, "0", "1"), key_sent(5, "1", "2"), key_sent(9, "1", "2"),
                 key_sent(12, "2", "3")],
        [],
    ),
    "keys of several folders": (
        lambda: [key_sent(n, "0", "1", folder=str(n)) for n in range(20)], [],
    ),
    "keys that go on": (lambda: [key_sent(n, str(n), str(n + 1)) for n in range(30)], []),
    "folders that stay": (lambda: [folder_key(n * 900, "1", "1") for n in range(30)], []),
    "Syncs that return at once": (
        lambda: [waiting_sync(n, waited=0.2) for n in range(8)], ["ping_at_once"],
    ),
    "Syncs that wait": (
        lambda: [waiting_sync(n * 900, waited=890 if n % 2 else 3) for n in range(20)], [],
    ),
    "moved back after days of mail": (
        lambda: [
            *moved(1, "https://mail.fabrikam.example/Microsoft-Server-ActiveSync", at=0),
            *at_host("mail.fabrikam.example", [
                folders(20), sync(25),
                *moved(1, "https://mail.contoso.example/Microsoft-Server-ActiveSync", at=90),
            ]),
        ],
        [],
    ),
    "a circle of which the proxy is one": (
        lambda: [x for n in range(4) for x in (
            redirected_by_us(n * 20, "mail.fabrikam.example"),
            *at_host("mail.fabrikam.example", moved(
                1, "https://MAIL.contoso.example.:443/Microsoft-Server-ActiveSync", at=n * 20 + 9)),
        )],
        ["redirect_circle"],
    ),
    "SyncKey 0 for ever": (lambda: [key_sent(n, "0", "1") for n in range(8)], ["starts_over"]),
    "FolderSync 0 for ever": (
        lambda: [folder_key(n * 20, "0", "1") for n in range(8)], ["starts_over"],
    ),
    "everything from the start, again and again": (
        lambda: [x for n in range(7) for x in (
            folder_key(n * 60, "0", "1"), key_sent(n * 60 + 5, "0", "1"),
            key_sent(n * 60 + 9, "1", "2"),
        )],
        ["starts_over"],
    ),
    "the account added again": (
        lambda: [x for n in range(2) for x in (
            folder_key(n * 60, "0", "1"), key_sent(n * 60 + 5, "0", "1"),
            key_sent(n * 60 + 9, "1", "2"),
        )],
        [],
    ),
    "a policy that fails inside": (lambda: [policy(n, 3, 1) for n in range(6)], ["policy_refused"]),
    "a policy that fails inside, by 449": (
        lambda: [x for n in range(6) for x in (*code(449, at=n * 20), policy(n * 20 + 5, 3))],
        ["policy_refused"],
    ),
    "no policy for this user": (lambda: [policy(0, 2), folders(5), sync(9)], []),
    "nothing but policies": (lambda: [policy(n, 1, 1) for n in range(8)], ["provisions_only"]),
    "a key that the server lost": (
        lambda: [x for n in range(8) for x in (*code(449, at=n * 20), policy(n * 20 + 5, 1, 1))],
        ["policy_key_lost"],
    ),
    "a key that a box takes away": (
        lambda: [
            bare(x, "X-MS-PolicyKey")
            for n in range(8) for x in (*code(449, at=n * 20), policy(n * 20 + 5, 1, 1))
        ],
        ["policy_key_stripped"],
    ),
    "a policy that is not acknowledged": (
        lambda: [x for n in range(8) for x in (*code(449, at=n * 20), policy(n * 20 + 5, 1))],
        ["provisioning_loop"],
    ),
    "a policy taken on in part": (
        lambda: [x for n in range(8) for x in (*code(449, at=n * 20), policy(n * 20 + 5, 1, 2))],
        ["provisioning_loop"],
    ),
    "a device that cannot take on all": (
        lambda: [
            x for n in range(8) for x in (*wants_policy(1, 139, n * 20), policy(n * 20 + 5, 1, 1))
        ],
        ["provisioning_loop"],
    ),
    "401 at the new host, OPTIONS too": (
        lambda: [
            *moved(1, "https://eas.fabrikam.example/Microsoft-Server-ActiveSync", at=0),
            *at_host("eas.fabrikam.example", [x for n in range(6) for x in (
                eas_flow(n * 20 + 9, None, code=401, headers=ASKED),
                eas_flow(n * 20 + 12, code=401, headers=ASKED),
            )]),
        ],
        ["new_server_refuses_logon"],
    ),
    "a token that is not valid yet": (
        lambda: [with_token(flow) for flow in skewed_by(-90, code(401, 5, headers={
            "WWW-Authenticate": 'Bearer error="invalid_token",'
            ' error_description="token is not yet valid"'}))],
        ["clock_skew"],
    ),
    "a password where the clock is wrong, too": (
        lambda: skewed_by(-90, code(401, 5)), ["never_logged_on", "clock_skew"],
    ),
    "503 obeyed": (
        lambda: [*GOOD, *code(503, headers={"Retry-After": "60"}), sync(115), ping(120)], [],
    ),
    "503 not obeyed": (
        lambda: [*GOOD, *code(503, headers={"Retry-After": "60"}), sync(59), ping(120)],
        ["server_busy"],
    ),
    "503 and nothing after": (
        lambda: [*GOOD, *code(503, headers={"Retry-After": "60"})], ["server_busy"],
    ),
    "a name that is not there": (
        lambda: [*GOOD, *failing(5, "[Errno -2] Name or service not known")], ["name_not_resolved"],
    ),
    "a new name that is not there": (
        lambda: [
            *moved(1, "https://eas.fabrikam.example/Microsoft-Server-ActiveSync", at=0),
            *at_host("eas.fabrikam.example", failing(
                5, "[Errno -2] Name or service not known: eas.fabrikam.example")),
        ],
        ["name_not_resolved"],
    ),
    "a name, as another system says it": (
        lambda: failing(3, "nodename nor servname provided, or not known"), ["name_not_resolved"],
    ),
    "a name, as a phone says it": (
        lambda: failing(3, "Unable to resolve host: no address"), ["name_not_resolved"],
    ),
    "a certificate of yesterday": (
        lambda: failing(8, "certificate verify failed: certificate has expired"),
        ["certificate_expired"],
    ),
    "a certificate of nobody": (
        lambda: failing(8, "certificate verify failed: unable to get local issuer certificate"),
        ["certificate_not_trusted"],
    ),
    "a certificate with its own signature": (
        lambda: failing(8, "certificate verify failed: self signed certificate"),
        ["certificate_not_trusted"],
    ),
    "status 115": (lambda: [folders(0, 115)], ["send_quota"]),
    "504 and resets at one age": (
        lambda: [
            ping(n * 300, code=504 if n % 2 else None, waited=240, asked=900, body=b"")
            for n in range(6)
        ],
        ["wait_cut_short"],
    ),
    "all commands, in order": (
        lambda: [
            *GOOD,
            *said(5, "MoveItems", 3, count=4, way=("Response",)),
            *said(6, "GetItemEstimate", 1, count=4, way=("Response",)),
            *said(8, "MeetingResponse", 1, count=4, way=("Result",)),
            *said(15, "Search", 1, count=4, way=("Response", "Store")),
            *said(15, "Search", 12, count=4, way=("Response", "Store")),
            *said(18, "Settings", 1, count=4, way=("Oof",)),
            *said(20, "ItemOperations", 1, count=4, way=("Response", "Fetch")),
            *said(10, "ResolveRecipients", 4, count=4, way=("Response",)),
            *plain("image/png", b"x", "GetAttachment"),
            *(eas_flow(300, command) for command in ("SendMail", "SmartReply", "SmartForward")),
        ],
        [],
    ),
    "weeks of mail, with a little of everything": (good_weeks, []),
    "a reply to what is gone, sent as a new message": (
        lambda: [*GOOD, *refused("SmartReply", 150), eas_flow(25, "SendMail")], [],
    ),
    "a stored request that Exchange has lost": (
        lambda: [*GOOD, *refused("Sync", 149), sync(30), ping(40)], [],
    ),
    "moves to a folder that is gone": (
        lambda: [*GOOD, *said(5, "MoveItems", 2, count=4, way=("Response",))], ["items_not_moved"],
    ),
    "one move that fails": (
        lambda: [*GOOD, *said(5, "MoveItems", 2, count=1, way=("Response",)), sync(90)], [],
    ),
    "estimates with a wrong key": (
        lambda: [*GOOD, *said(6, "GetItemEstimate", 4, count=4, way=("Response",))],
        ["not_estimated"],
    ),
    "an invitation that is gone": (
        lambda: [*GOOD, *said(8, "MeetingResponse", 2, count=3, way=("Result",))],
        ["meeting_response_refused"],
    ),
    "a search that wants a logon": (
        lambda: [*GOOD, *said(15, "Search", 14, count=3, way=("Response", "Store"))],
        ["search_failed"],
    ),
    "out of office refused": (
        lambda: [*GOOD, *said(18, "Settings", 3, count=3, way=("Oof",))], ["settings_refused"],
    ),
    "attachments that are gone": (
        lambda: [*GOOD, *said(20, "ItemOperations", 6, count=3, way=("Response", "Fetch"))],
        ["items_not_fetched"],
    ),
    "a change that Exchange never takes": (
        lambda: [*GOOD, *said(
            0, "Sync", 6, count=4, way=("Collections", "Collection", "Responses", "Change"))],
        ["sync_items_refused"],
    ),
    "a change of what is gone, once": (
        lambda: [*GOOD, *said(
            0, "Sync", 8, count=1, way=("Collections", "Collection", "Responses", "Change"))],
        [],
    ),
    "a reply to what is gone": (lambda: [*GOOD, *refused("SmartReply", 150, 3)],
                                ["message_not_sent"]),
    "mail that is not submitted": (lambda: [*GOOD, *refused("SendMail", 120)],
                                   ["message_not_sent"]),
    "a recipient that is nobody": (lambda: [*GOOD, *refused("SendMail", 116)],
                                   ["message_not_sent"]),
    "150 elsewhere": (lambda: [*GOOD, *refused("ItemOperations", 150)], ["other_trouble"]),
    "status 112": (lambda: refused("FolderSync", 112, 4), ["directory_access_denied"]),
    "status 134": (lambda: [*GOOD, *refused("Sync", 134, 3)], ["sync_state_broken"]),
    "status 138": (lambda: refused("FolderSync", 138, 2), ["version_not_supported"]),
    "status 108": (lambda: refused("FolderSync", 108, 2), ["request_refused"]),
    "status 101": (lambda: [*GOOD, *refused("Sync", 101, 3)], ["request_refused"]),
    "status 125": (lambda: refused("FolderSync", 125, 2), ["account_unknown"]),
    "status 169": (lambda: [*GOOD, *refused("Sync", 169)], ["rights_management"]),
    "throttled for its Syncs": (
        lambda: [*GOOD, *code(503, 4, headers={"Retry-After": "300",
                                               "X-MS-ASThrottle": "SyncCommands"})],
        ["device_throttled"],
    ),
    "throttled, without a time": (
        lambda: [*GOOD, *code(503, 3, headers={"X-MS-ASThrottle": "CommandFrequency"})],
        ["device_throttled"],
    ),
    "429 until a date": (
        lambda: code(429, 3, headers={"Retry-After": "Mon, 02 Mar 2026 08:05:00 GMT"}),
        ["server_busy"],
    ),
    "a front that reaches nobody": (lambda: [*GOOD, *code(521, 3)], ["server_errors"]),
    "one of two servers refuses the password": (
        lambda: [folders(), *(x for n in range(5) for x in (
            *code(401, at=20 + n * 60), sync(30 + n * 60)))],
        ["logon_refused_at_times"],
    ),
    "each connection asks without a logon first": (
        lambda: [folders(), *(x for n in range(5) for x in (
            *code(401, at=20 + n * 60, user=None, headers=ASKED), sync(30 + n * 60)))],
        [],
    ),
    "tokens run out every hour": (
        lambda: [with_token(flow) for flow in [folders(), *(x for n in range(5) for x in (
            *code(401, at=20 + n * 3600), sync(30 + n * 3600)))]],
        [],
    ),
    "NTLM whose connections are mixed": (lambda: handshakes(5), ["never_logged_on"]),
    "a form whose time is over": (lambda: code(440, 2), ["logon_page"]),
    "a name that the connection was not made for": (lambda: [*GOOD, *code(421, 3)],
                                                    ["misdirected"]),
    "a head that is too large": (lambda: code(431, 3), ["head_too_large"]),
    "a front that wants a certificate": (lambda: code(496, 2), ["client_certificate_wanted"]),
    "451 to http": (
        lambda: moved(3, "http://eas.fabrikam.example/Microsoft-Server-ActiveSync"),
        ["redirect_location_wrong"],
    ),
    "451 to Outlook on the web": (
        lambda: moved(1, "https://eas.fabrikam.example/owa/"), ["redirect_location_wrong"],
    ),
    "451 to a bare name": (
        lambda: moved(1, "https://eas.fabrikam.example"), ["redirect_location_wrong"],
    ),
    "406": (lambda: code(406, 2), ["filtered"]),
    "411": (lambda: code(411, 2), ["length_missing"]),
    "417": (lambda: code(417, 2), ["expectation_failed"]),
    "an account is added: the first question is nobody's, on a connection of its own": (
        lambda: [
            eas_flow(0, None, user=None, code=401, headers=ASKED),
            options(MS_ASProtocolVersions="14.1"), folders(2, 142), policy(3, 1), policy(4, 1, 1),
            folder_key(5, "0", "1"), key_sent(6, "0", "1"), key_sent(7, "1", "2"), ping(8),
        ],
        [],
    ),
    "451 to a path": (lambda: moved(3, "/Microsoft-Server-ActiveSync"),
                      ["redirect_location_wrong"]),
    "451 to a name of the inner network": (
        lambda: moved(1, "https://ex2016.corp.local/Microsoft-Server-ActiveSync"),
        ["redirect_to_internal_name"],
    ),
    "451 to a short name": (
        lambda: moved(2, "https://ex2016/Microsoft-Server-ActiveSync"),
        ["redirect_to_internal_name"],
    ),
    "451 to an address": (
        lambda: moved(2, "https://10.20.30.40/Microsoft-Server-ActiveSync"),
        ["redirect_to_internal_name"],
    ),
    "451 to an inner name that the device reaches": (
        lambda: [
            *moved(1, "https://ex2016.corp.local/Microsoft-Server-ActiveSync", at=0),
            *at_host("ex2016.corp.local", [folders(20), sync(25)]),
        ],
        [],
    ),
    "follows, and comes back each time": (
        lambda: [x for n in range(5) for x in (
            *moved(1, NEW, at=n * 100), *at_host(NEW_HOST, [folders(n * 100 + 50)]))],
        ["redirect_not_kept"],
    ),
    "follows, and comes back once": (
        lambda: [x for n in range(2) for x in (
            *moved(1, NEW, at=n * 100), *at_host(NEW_HOST, [folders(n * 100 + 50)]))],
        [],
    ),
    "Autodiscover is not at the first address": (
        lambda: [question(0, host="contoso.example", number=404), question(2, SETTINGS),
                 folders(5)],
        [],
    ),
    "Autodiscover sends on": (
        lambda: [question(0, number=302), question(2, SETTINGS, host="autod.fabrikam.example"),
                 folders(5)],
        [],
    ),
    "Autodiscover does not read the question": (
        lambda: [question(n, NOT_READ) for n in range(2)], ["autodiscover_failed"],
    ),
    "Autodiscover has another error": (
        lambda: [question(0, told("<Error><Status>1</Status></Error>"))], ["autodiscover_failed"],
    ),
    "a page in place of Autodiscover": (
        lambda: [question(0, b"<html>sign in</html>", kind="text/html")], ["autodiscover_failed"],
    ),
    "nobody listens, whatever is asked": (
        lambda: failing(6, "[Errno 111] Connect call failed ('10.20.30.40', 443)"),
        ["server_unreachable"],
    ),
    "a browser is refused": (lambda: failing(2, "net::ERR_CONNECTION_REFUSED"),
                             ["server_unreachable"]),
    "another service at the port": (
        lambda: failing(3, "Cannot parse HTTP response: Bad HTTP response line: b'SSH-2.0'"),
        ["not_http"],
    ),
    "nothing in any answer": (
        lambda: [eas_flow(0), eas_flow(5, "Ping"), eas_flow(9, "Settings")], ["empty_answers"],
    ),
    "silence, whatever is asked": (lambda: failing(6, "connection timed out"), ["no_answer"]),
    "a server with TLS 1.0": (
        lambda: failing(4, "The remote server and mitmproxy cannot agree on a TLS version to use."
                           " You may need to adjust mitmproxy's tls_version_server_min option."),
        ["tls_not_agreed"],
    ),
    "a port without TLS": (lambda: failing(3, "The remote server does not speak TLS."),
                           ["tls_not_agreed"]),
    "a handshake that fails": (
        lambda: failing(3, "OpenSSL Error([('SSL routines', '', 'tls alert handshake failure')])"),
        ["tls_not_agreed"],
    ),
    "a server that wants a certificate": (
        lambda: failing(
            3, "OpenSSL Error([('SSL routines', '', 'tlsv13 alert certificate required')])"),
        ["client_certificate_wanted"],
    ),
    "answers that break off": (lambda: [*GOOD, *broken_off(4, None)], ["answer_cut_off"]),
    "answers that break off, as far as they came": (
        lambda: [*GOOD, *broken_off(4, b"\x03\x01j\0E\\O")], ["answer_cut_off"],
    ),
    "an answer that breaks off, once": (lambda: [*GOOD, *broken_off(1, None), sync(90)], []),
    "Pings cut by 408": (
        lambda: [*GOOD, *(
            ping(20 + n * 70, code=408, body=b"", waited=60, asked=470) for n in range(4))],
        ["wait_cut_short"],
    ),
    "Pings cut by 524": (
        lambda: [*GOOD, *(
            ping(20 + n * 110, code=524, body=b"", waited=100, asked=470) for n in range(4))],
        ["wait_cut_short"],
    ),
    "mail that is too long for IIS": (
        lambda: [*GOOD, *code(404, 2, command="SendMail"), sync(90)], ["too_large"],
    ),
    "404 for mail and all else": (lambda: [*code(404, 2, command="SendMail"), *code(404, 2, at=90)],
                                  ["not_found"]),
    "two phones with one id": (
        lambda: in_turns(*(key_sent(n * 60, str(n), str(n + 1)) for n in range(12)),
                         agents=TWO_PHONES),
        ["device_id_shared"],
    ),
    "an update of the phone": (
        lambda: in_turns(*(key_sent(n * 60, str(n), str(n + 1)) for n in range(12)),
                         agents=(TWO_PHONES[0],) * 6 + (TWO_PHONES[1],) * 6),
        [],
    ),
    "blocked once it has its policy": (
        lambda: [folders(0, 142), provision(5), provision(6), *code(403, 4)], ["forbidden"],
    ),
    "a full mailbox, by each command": (
        lambda: [*GOOD, sync(20, 9), *refused("SendMail", 113), *code(507, 2, at=60)],
        ["mailbox_full"],
    ),
    "folders asked for all the time": (
        lambda: [folder_key(n * 2, "1", "1") for n in range(60)], ["asks_too_often"],
    ),
    "a phone that waits half a minute": (
        lambda: [*GOOD, *(gave_up(eas_flow(20 + n * 60, code=None, waited=30)) for n in range(4))],
        ["too_slow"],
    ),
    "a phone that goes out of reach": (
        lambda: [*GOOD, *(gave_up(eas_flow(20 + n * 60, code=None, waited=2)) for n in range(4))],
        ["no_answer"],
    ),
    "folders that take long": (
        lambda: [eas_flow(n * 60, body=status(7, "FolderSync", 1), waited=45) for n in range(3)],
        ["slow_answers"],
    ),
    "attachments that take long": (
        lambda: [*GOOD, *said(20, "ItemOperations", 1, count=1, way=("Response", "Fetch")),
                 *(eas_flow(90 + n * 60, "SendMail", waited=45) for n in range(3))],
        [],
    ),
    "a Sync that waits, cut": (
        lambda: [cut_sync(n * 90, 60) for n in range(4)], ["wait_cut_short"],
    ),
    "two causes": (lambda: [*code(404), *code(507, at=90)], ["not_found", "mailbox_full"]),
}  # fmt: skip


async def found_in(tmp_path: Path, flows: Flows) -> list[Complaint]:
    path = write_flows(tmp_path / "capture.flows", flows)
    whole = await capture_report(read_exchanges(path), None, Filter())
    assert whole.troubles == []
    said = "\n".join(capture_lines(whole))
    told = [found for timeline in whole.timelines for found in complaints(timeline)]
    assert ("nothing is wrong" in said) is (told == [])
    return told


@pytest.mark.parametrize("name", CASES)
async def test_the_right_findings_and_no_other(name: str, tmp_path: Path) -> None:
    make, right = CASES[name]
    told = await found_in(tmp_path, make())
    assert [found.kind for found in told] == right
    assert all(found.text and found.advice for found in told)


@pytest.mark.parametrize("name", CASES)
async def test_a_redacted_capture_has_the_same(name: str, tmp_path: Path) -> None:
    make, right = CASES[name]
    source, clean = write_flows(tmp_path / "source.flows", make()), tmp_path / "clean.flows"
    done = redact(source, clean, lambda _read: None)
    assert (done.troubles, done.leaks) == ((), ())
    whole = await capture_report(read_exchanges(clean), None, Filter())
    told = [found for timeline in whole.timelines for found in complaints(timeline)]
    assert [found.kind for found in told] == right


def test_there_are_a_hundred() -> None:
    assert len(CASES) >= 100


async def test_what_another_server_says_is_told_of_that_one(tmp_path: Path) -> None:
    flows = [*GOOD, *at_host("mail.fabrikam.example", code(404))]
    [found] = await found_in(tmp_path, flows)
    assert found.text.startswith("at mail.fabrikam.example: was answered 404")


async def test_the_circle_is_named(tmp_path: Path) -> None:
    flows = in_turn("mail.contoso.example", "mail.fabrikam.example", rounds=2)
    [found] = await found_in(tmp_path, flows)
    assert found.text == (
        "servers send the device round in a circle, 4 times (451):"
        " mail.contoso.example → mail.fabrikam.example → mail.contoso.example"
    )
    assert "both sides" in found.advice


@pytest.mark.parametrize("host", ["outlook.office365.com", "eas.fabrikam.example"])
async def test_exchange_online_is_named_only_where_it_is(tmp_path: Path, host: str) -> None:
    sent_on = moved(1, f"https://{host}/Microsoft-Server-ActiveSync")
    [found] = await found_in(tmp_path, [*sent_on, *at_host(host, code(401, 3))])
    assert ("Exchange Online" in found.advice) is (host == "outlook.office365.com")


async def test_the_name_of_a_redirect_that_is_not_resolved(tmp_path: Path) -> None:
    flows = failing(4, "[Errno -2] Name or service not known")
    sent_on = moved(1, "https://eas.fabrikam.example/Microsoft-Server-ActiveSync", at=0)
    [found] = await found_in(tmp_path, [*sent_on, *at_host("eas.fabrikam.example", flows)])
    assert "eas.fabrikam.example, to which the device was redirected, is not resolved" in found.text
    assert "X-MS-Location" in found.advice


async def test_errors_as_browsers_write_them(tmp_path: Path) -> None:
    for error, kind in (
        ("net::ERR_NAME_NOT_RESOLVED", "name_not_resolved"),
        ("NS_ERROR_UNKNOWN_HOST", "name_not_resolved"),
        ("net::ERR_CERT_DATE_INVALID", "certificate_expired"),
        ("SEC_ERROR_EXPIRED_CERTIFICATE", "certificate_expired"),
        ("net::ERR_CERT_AUTHORITY_INVALID", "certificate_not_trusted"),
        ("SEC_ERROR_UNKNOWN_ISSUER", "certificate_not_trusted"),
        ("net::ERR_TIMED_OUT", "no_answer"),
    ):
        path = write_har(tmp_path / "browser.har", [eas_flow(0, code=None)])
        har = json.loads(path.read_text())
        har["log"]["entries"][0]["response"]["_error"] = error
        path.write_text(json.dumps(har))
        whole = await capture_report(read_exchanges(path), None, Filter())
        [found] = [found for timeline in whole.timelines for found in complaints(timeline)]
        assert (found.kind, error in found.text) == (kind, True)


async def test_a_clock_is_told_once(tmp_path: Path) -> None:
    flows = [eas_flow(n, "Sync", device=f"PHONE{n}", user=f"CONTOSO\\user{n}") for n in range(5)]
    [found] = await found_in(tmp_path, skewed_by(-90, flows))
    assert found.text == "the server's clock is 90 minutes behind the capture's"


async def test_each_server_has_a_clock(tmp_path: Path) -> None:
    flows = [eas_flow(n, "Sync", device=f"PHONE{n}") for n in range(4)]
    at_host("mail.fabrikam.example", flows[2:])
    assert [found.kind for found in await found_in(tmp_path, skewed_by(-90, flows))] == [
        "clock_skew",
        "clock_skew",
    ]


async def test_waits_in_a_har_without_an_answer(tmp_path: Path) -> None:
    """`time` is all that stands there; some of them end with the front's 504."""
    for name, codes in (("resets", [None] * 6), ("mixed", [None, 504] * 3)):
        pings = [
            ping(n * 300, code=answered, waited=240, asked=900, body=b"")
            for n, answered in enumerate(codes)
        ]
        path = write_har(tmp_path / f"{name}.har", pings)
        whole = await capture_report(read_exchanges(path), None, Filter())
        [found] = [found for timeline in whole.timelines for found in complaints(timeline)]
        assert found.kind == "wait_cut_short", name
        assert "6 times at the same age, 240 s" in found.text


async def test_the_limit_stands_against_what_was_asked_for(tmp_path: Path) -> None:
    flows = [ping(n * 400, code=None, waited=299, asked=900) for n in range(3)]
    [found] = await found_in(tmp_path, flows)
    assert found.text == (
        "waits were cut 3 times at the same age, 299 s, though 900 s were asked for"
    )


async def test_what_was_in_it_is_told(tmp_path: Path) -> None:
    """By number and meaning, in the finding and in the time line."""
    flows = [*GOOD, *said(5, "MoveItems", 2, count=3, way=("Response",))]
    [found] = await found_in(tmp_path, flows)
    assert found.text == "MoveItems failed 3 times for what was in it: 2 invalid destination"
    whole = await capture_report(
        read_exchanges(write_flows(tmp_path / "c.flows", flows)), None, Filter()
    )
    assert "OK, in it 2 invalid destination" in "\n".join(capture_lines(whole))


@pytest.mark.parametrize(
    ("number", "told"),
    [("1", "the device says that it did"), ("2", "the device says that it could not"), (None, "")],
)
@pytest.mark.parametrize("wipe", [WIPE, ACCOUNT_WIPE], ids=["device", "account"])
async def test_what_the_device_says_of_its_wipe(
    wipe: Element, number: str | None, told: str, tmp_path: Path
) -> None:
    """MS-ASPROV 2.2.2.54.3."""
    flow = provision(15, wipe)
    if number is not None:
        name = "RemoteWipe" if wipe is WIPE else "AccountOnlyRemoteWipe"
        answered = provision(16)
        status = element(14, name, element(14, "Status", number))
        answered.request.content = write(Document(element(14, "Provision", status)))
        answered.request.headers["Content-Type"] = WBXML
        flows = [*wants_policy(1, 140), flow, answered]
    else:
        flows = [*wants_policy(1, 140), flow]
    [found] = await found_in(tmp_path, flows)
    assert told in found.text
    assert ("the device says" in found.text) == (number is not None)


async def test_the_numbers_of_a_full_mailbox(tmp_path: Path) -> None:
    flows = [sync(0, 9), *refused("SendMail", 113), *code(507, 2)]
    [found] = await found_in(tmp_path, flows)
    assert found.text == (
        "was answered 4 times that the mailbox is full (Sync 9, SendMail 113, Sync 507)"
    )


async def test_what_failed_is_told_by_its_numbers(tmp_path: Path) -> None:
    [found] = await found_in(tmp_path, [*code(521, 2), *refused("FolderSync", 111)])
    assert found.text == "Exchange failed 3 times (521, status 111)"


async def test_commands_without_an_answer_are_one_finding(tmp_path: Path) -> None:
    [found] = await found_in(tmp_path, failing(5, "server closed connection"))
    assert found.text == (
        "FolderSync, OPTIONS were not answered 5 times (server closed connection)"
    )


async def test_a_status_that_nobody_knows_is_not_called_ok(tmp_path: Path) -> None:
    [found] = await found_in(tmp_path, [sync(0, 41)])
    assert found.text == "Sync was answered 200, status 41 once"


async def test_the_programs_that_share_an_id_are_named(tmp_path: Path) -> None:
    keys = (key_sent(n * 60, str(n), str(n + 1)) for n in range(9))
    [found] = await found_in(tmp_path, in_turns(*keys, agents=TWO_PHONES))
    assert found.text == (
        "programs take turns under this device id: Apple-iPhone12C1/1902.67,"
        " Apple-iPhone14C2/2001.55"
    )


async def test_ntlm_is_told_of_connections(tmp_path: Path) -> None:
    [found] = await found_in(tmp_path, handshakes(3))
    assert "NTLM logs a connection on" in found.advice
    [found] = await found_in(tmp_path, code(401, 3))
    assert "NTLM" not in found.advice


async def test_a_har_keeps_that_an_answer_broke_off(tmp_path: Path) -> None:
    """Browsers write the status that came, with the error beside it."""
    source = write_flows(tmp_path / "source.flows", [*GOOD, *broken_off(4, None)])
    redact(source, tmp_path / "clean.har", lambda _read: None)
    whole = await capture_report(read_exchanges(tmp_path / "clean.har"), None, Filter())
    [found] = [found for timeline in whole.timelines for found in complaints(timeline)]
    assert found.kind == "answer_cut_off"


async def test_retry_after_is_told(tmp_path: Path) -> None:
    [found] = await found_in(tmp_path, code(503, 3, headers={"Retry-After": "120"}))
    assert found.text == "Exchange sent the device away 3 times (503, Retry-After 120)"
