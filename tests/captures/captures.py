"""Captures made up for tests: flows with fixed times, as a flow file and as HAR."""

import base64
import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from mitmproxy import connection, flow, http
from mitmproxy.io import FlowWriter

from eas_redirect.activesync.wbxml import Document, element, write
from tests.activesync.vectors import VECTORS

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC).timestamp()
WBXML = "application/vnd.ms-sync.wbxml"
PATH = "/Microsoft-Server-ActiveSync"
PASSWORD = "hunter2-Basic-Passw0rd"
COOKIE = "cadataTTWIEU-cookie-4711"
POLICY_KEY = "3141592653"


def status(page: int, root: str, number: int) -> bytes:
    return write(Document(element(page, root, element(page, "Status", str(number)))))


def eas_flow(
    at: float,
    command: str | None = "FolderSync",
    *,
    user: str | None = "CONTOSO\\anna",
    version: str = "14.1",
    device: str = "ApplDEVICE1",
    code: int | None = 200,
    body: bytes | None = b"",
    sent: bytes = b"",
    waited: float = 0.5,
    headers: dict[str, str] | None = None,
    asked: dict[str, str] | None = None,
) -> http.HTTPFlow:
    """One exchange, `at` seconds after START. `code` None: no answer; `command` None: OPTIONS."""
    client = connection.Client(
        peername=("192.0.2.7", 50000), sockname=("192.0.2.1", 443), timestamp_start=START + at
    )
    client.id = f"client-{device}-{at}"
    found = http.HTTPFlow(client, connection.Server(address=("exchange.contoso.example", 443)))
    found.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{device} {at} {command}"))
    name = (user or "anna").rpartition("\\")[2].partition("@")[0]
    query = f"?Cmd={command}&User={name}&DeviceId={device}&DeviceType=iPhone" if command else ""
    method = "POST" if command else "OPTIONS"
    found.request = http.Request.make(method, f"https://mail.contoso.example{PATH}{query}", sent)
    found.request.headers["Host"] = "mail.contoso.example"
    found.request.headers["User-Agent"] = "Apple-iPhone12C1/1902.67"
    if command:
        found.request.headers["MS-ASProtocolVersion"] = version
        found.request.headers["X-MS-PolicyKey"] = POLICY_KEY
    if user:
        logon = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
        found.request.headers["Authorization"] = f"Basic {logon}"
    for header, value in (asked or {}).items():
        found.request.headers[header] = value
    found.request.timestamp_start = found.request.timestamp_end = START + at
    if code is None:
        found.error = flow.Error("server closed connection", START + at + waited)
        return found
    found.response = http.Response.make(code, b"")
    found.response.raw_content = body
    found.response.headers["Content-Type"] = WBXML
    found.response.headers["Content-Length"] = str(len(body or b""))
    for header, value in (headers or {}).items():
        found.response.headers[header] = value
    found.response.timestamp_start = found.response.timestamp_end = START + at + waited
    return found


def story() -> list[http.HTTPFlow]:
    """Four devices: a moved one, a blocked one, one that waits, one on 12.1."""
    moved = VECTORS["FolderSync"]
    ping = status(13, "Ping", 1)
    return [
        eas_flow(0, None, code=403, waited=20),
        eas_flow(30, body=moved, waited=20),
        eas_flow(60, body=moved, waited=20),
        *(
            eas_flow(100 + n * 480, "Ping", user="CONTOSO\\bert", device="SEC2", body=ping)
            for n in range(4)
        ),
        eas_flow(200, "Sync", user="bert@contoso.example", device="SEC2", body=b""),
        eas_flow(210, "Ping", user="CONTOSO\\bert", device="SEC2", code=None, waited=600.02),
        eas_flow(300, "Sync", user="CONTOSO\\carl", device="BLOCKED3", body=status(0, "Sync", 129)),
        *(eas_flow(400 + n, user=None, device="LOST4", code=401) for n in range(3)),
        eas_flow(500, "Sync", device="OLD5", version="12.1", code=403, body=b"<p>"),
    ]


def write_flows(path: Path, found: Iterable[flow.Flow]) -> Path:
    with path.open("wb") as file:
        writer = FlowWriter(file)
        for one in found:
            writer.add(one)
    return path


def har_entry(found: http.HTTPFlow) -> dict[str, object]:
    """As a browser's developer tools export it, with bodies in base64."""
    response = found.response
    started = datetime.fromtimestamp(found.request.timestamp_start, UTC).isoformat()
    content: dict[str, object] = {"size": 0}
    waited = 0.0
    if response is not None:
        body = response.raw_content or b""
        text = base64.b64encode(body).decode()
        content = {"size": len(body), "text": text, "encoding": "base64"}
        waited = (response.timestamp_start - found.request.timestamp_start) * 1000
    elif found.error is not None:
        waited = (found.error.timestamp - found.request.timestamp_start) * 1000
    return {
        "startedDateTime": started,
        "time": waited,
        "request": {
            "method": found.request.method,
            "url": found.request.url,
            "httpVersion": "HTTP/1.1",
            "headers": headers_json(found.request.headers),
        },
        "response": {
            "status": response.status_code if response else 0,
            "httpVersion": "HTTP/1.1",
            "headers": headers_json(response.headers) if response else [],
            "content": content,
        },
    }


def headers_json(headers: http.Headers) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers.items(multi=True)]


def write_har(path: Path, found: Iterable[http.HTTPFlow]) -> Path:
    log = {"version": "1.2", "pages": [], "entries": [har_entry(one) for one in found]}
    path.write_text(json.dumps({"log": log}), encoding="utf-8")
    return path
