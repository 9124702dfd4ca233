"""A phone's half of EAS: requests over TLS that verifies the lab CA, on one kept connection.

Names are resolved by a table from the lab, where a phone would ask DNS; no name here ever reaches
the network. Sources: MS-ASHTTP 2.2.1.1.1 (request line), 2.2.1.1.2 (headers).
"""

import base64
import http.client
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from eas_redirect.activesync.request import COMMAND_CODES
from eas_redirect.activesync.wbxml import WBXML_TYPE
from eas_redirect.autodiscover.phone_request import PATH as AUTODISCOVER_PATH
from eas_redirect.lab.autodiscovery import XML_TYPE, server_url
from eas_redirect.lab.http_server import HeaderFields, field_value

PATH = "/Microsoft-Server-ActiveSync"
EN_US = 0x0409
CODES = {command: code for code, command in COMMAND_CODES.items()}
USER_TAG = 8  # MS-ASHTTP 2.2.1.1.1.1.3


@dataclass(frozen=True, slots=True)
class Route:
    """Where names lead (`host → (address, port)`), whom TLS trusts, how to reach an address."""

    addresses: dict[str, tuple[str, int]]
    tls: ssl.SSLContext
    dial: Callable[[tuple[str, int], float], socket.socket] = socket.create_connection


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """One request of a device. `query` is `plain`, `base64` or `none` (OPTIONS has none)."""

    command: str = "FolderSync"
    version: str = "14.1"
    query: str = "plain"
    policy_key: int | None = None

    @property
    def is_question(self) -> bool:
        """To Autodiscover, which tells the server of an account that is added."""
        return self.command == "Autodiscover"

    @property
    def method(self) -> str:
        return "OPTIONS" if self.command == "OPTIONS" else "POST"


@dataclass(frozen=True, slots=True)
class Phone:
    """The facts that a device tells with each request. `authorization` is a whole header value."""

    id: str
    type: str
    user_agent: str
    user: str
    authorization: str | None

    def target(self, ask: DeviceRequest) -> str:
        if ask.is_question:
            return AUTODISCOVER_PATH
        match ask.query:
            case "none":
                return PATH
            case "base64":
                return f"{PATH}?{base64_query(self, ask)}"
            case _:
                fields = {"User": self.user, "DeviceId": self.id, "DeviceType": self.type}
                return f"{PATH}?{urlencode({'Cmd': ask.command, **fields})}"

    def headers(self, ask: DeviceRequest) -> HeaderFields:
        fields = [("User-Agent", self.user_agent), ("Accept-Encoding", "gzip")]
        if self.authorization:
            fields.append(("Authorization", self.authorization))
        if ask.is_question:
            fields.append(("Content-Type", XML_TYPE))
        elif ask.method == "POST":
            fields.append(("Content-Type", WBXML_TYPE))
            if ask.query == "plain":
                fields.append(("MS-ASProtocolVersion", ask.version))
                fields.append(("X-MS-PolicyKey", str(ask.policy_key or 0)))
        return tuple(fields)


def base64_query(device: Phone, ask: DeviceRequest) -> str:
    """The query as one base64 value (MS-ASHTTP 2.2.1.1.1.1)."""
    policy_key = b"" if ask.policy_key is None else struct.pack("<L", ask.policy_key)
    user = device.user.encode()
    parts = (
        struct.pack("<BBH", int(float(ask.version) * 10), CODES[ask.command], EN_US),
        _counted(device.id.encode()),
        _counted(policy_key),
        _counted(device.type.encode()),
        bytes([USER_TAG]) + _counted(user),
    )
    return base64.b64encode(b"".join(parts)).decode()


def _counted(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def basic(user: str, password: str) -> str:
    """A Basic Authorization value (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Got:
    """What a device received, with the local port that it called from."""

    status: int
    reason: str
    headers: HeaderFields
    wire_body: bytes
    local_port: int

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return field_value(self.headers, name)

    @property
    def location(self) -> str | None:
        """The server that the phone is told: by a 451, or by Settings."""
        return self.header("X-MS-Location") or server_url(self.wire_body)

    @property
    def is_settings(self) -> bool:
        return self.status == 200 and server_url(self.wire_body) is not None


class Line:
    """A kept TLS connection to one host: `with Line(network, host) as line: line.send(…)`."""

    def __init__(self, network: Route, host: str, timeout_s: float = 60.0) -> None:
        self._network = network
        self._host = host
        self._timeout_s = timeout_s
        self._connection = http.client.HTTPConnection(host, timeout=timeout_s)

    def __enter__(self) -> Self:
        self._dial()
        return self

    def _dial(self) -> None:
        plain = self._network.dial(self._network.addresses[self._host], self._timeout_s)
        secure = self._network.tls.wrap_socket(plain, server_hostname=self._host)
        self._local_port: int = secure.getsockname()[1]
        self._connection.sock = secure

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def send(self, method: str, target: str, headers: HeaderFields, body: bytes = b"") -> Got:
        """One request and its whole answer, on another connection where the last answer closed."""
        if self._connection.sock is None:
            self._dial()
        self._connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self._connection.putheader(name, value)
        self._connection.endheaders(body)
        answer = self._connection.getresponse()
        got_body = answer.read()
        fields = tuple(answer.getheaders())
        return Got(answer.status, answer.reason, fields, got_body, self._local_port)
