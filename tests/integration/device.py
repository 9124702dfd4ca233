"""What a device sends: EAS requests in their usual forms, through a proxy on loopback."""

import base64
import http.client
from dataclasses import dataclass, field
from urllib.parse import quote

from tests.integration.upstream import CASE

PATH = "/Microsoft-Server-ActiveSync"
LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
PASSWORD = "hunter2-Basic-Passw0rd"  # in tests/data/secrets.txt: no output may hold it


@dataclass(frozen=True)
class Reply:
    """What came back, as the device sees it. Header names in lower case."""

    status: int
    phrase: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n == name.lower()), None)


def basic(user: str, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(
    port: int,
    user: str | None,
    case: str,
    *,
    command: str | None = "FolderSync",
    version: str | None = "14.1",
    method: str = "POST",
    target: str | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """One request on a connection of its own. `command` None: no query, as OPTIONS usually has."""
    if target is None:
        name = quote(user or "", safe="")
        query = f"?Cmd={command}&User={name}&DeviceId=D1&DeviceType=Phone" if command else ""
        target = PATH + query
    sent = {"Host": "mail.contoso.example", CASE: case, "User-Agent": "Phone/1.0"}
    if user is not None:
        sent["Authorization"] = basic(user)
    if version is not None:
        sent["MS-ASProtocolVersion"] = version
    sent |= {"Cookie": "cadataTTWIEU-cookie-4711", "X-MS-PolicyKey": "policy-key-3141592653"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, target, body=b"", headers=sent | (headers or {}))
        answer = connection.getresponse()
        fields = [(name.lower(), value) for name, value in answer.getheaders()]
        return Reply(answer.status, answer.reason, fields, answer.read())
    finally:
        connection.close()
