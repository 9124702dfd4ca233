"""Messages as bytes that several tests send, and the configuration that they are sent under."""

import base64
from collections.abc import Mapping

from tests.support import DATA

CONFIG = f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
LOCATION = b"X-MS-Location: https://outlook.office365.com/Microsoft-Server-ActiveSync\r\n"
WBXML = b"Content-Type: application/vnd.ms-sync.wbxml\r\n"
SYNC = b"/Microsoft-Server-ActiveSync?Cmd=Sync&User=bert&DeviceId=d&DeviceType=Phone"
ITEMS = SYNC.replace(b"Cmd=Sync", b"Cmd=ItemOperations")
PING = SYNC.replace(b"Cmd=Sync", b"Cmd=Ping")
FOLDER_SYNC = SYNC.replace(b"Cmd=Sync", b"Cmd=FolderSync").replace(b"bert", b"anna")
ANNA = b"Authorization: Basic " + base64.b64encode(b"anna@contoso.example:x")  # has moved
BERT = b"Authorization: Basic " + base64.b64encode(b"bert@contoso.example:x")  # has not
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def head(line: bytes, *headers: bytes) -> bytes:
    """A request's or an answer's head, with a Host that is as good as any."""
    return b"\r\n".join((line, b"Host: mail.contoso.example", *headers, b"", b""))


def post(target: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A whole POST, at 14.1 as far as ActiveSync goes."""
    length = b"Content-Length: %d" % len(body)
    version = b"MS-ASProtocolVersion: 14.1"
    return head(b"POST " + target + b" HTTP/1.1", version, *headers, length) + body


def wbxml(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + WBXML + b"Content-Length: %d\r\n\r\n" % len(body) + body


# MS-ASWBXML: FolderSync's own root with the global Status 123, UserHasNoMailbox (MS-ASCMD 2.2.2).
NO_MAILBOX = wbxml(bytes.fromhex("03016A00000756" + "4C03313233000101"))


def at(line: Mapping[str, object], key: str) -> object:
    """A nested value of a journal line, by its dotted name; None when it is absent."""
    value: object = line
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
