"""An EAS request: method, target and headers in, `EASRequest` out. Pure; standard library only.

Sources: MS-ASHTTP 2.2.1.1.1 (request line, plain and base64 query), 2.2.1.1.2 (headers).
"""

import base64
import binascii
import re
import string
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote_to_bytes

# The query of an EAS request, plain or base64: text in, `Query` out.
#
# Source: MS-ASHTTP 2.2.1.1.1.

type QueryEncoding = Literal["plain", "base64", "none"]

MAX_QUERY = 8 * 1024  # characters; IIS refuses query strings over 2048 by default
MAX_USUAL = 512  # characters; a device repeats its few queries all day, and they hold no secret
MAX_VALUE = 256  # characters of one value; MS-ASHTTP allows 32 for a device id

# MS-ASHTTP 2.2.1.1.1.1.2: the command codes of a base64 query. 5 to 8 are those of early versions.
COMMAND_CODES: dict[int, str] = {
    0: "Sync",
    1: "SendMail",
    2: "SmartForward",
    3: "SmartReply",
    4: "GetAttachment",
    5: "GetHierarchy",
    6: "CreateCollection",
    7: "DeleteCollection",
    8: "MoveCollection",
    9: "FolderSync",
    10: "FolderCreate",
    11: "FolderDelete",
    12: "FolderUpdate",
    13: "MoveItems",
    14: "GetItemEstimate",
    15: "MeetingResponse",
    16: "Search",
    17: "Settings",
    18: "Ping",
    19: "ItemOperations",
    20: "Provision",
    21: "ResolveRecipients",
    22: "ValidateCert",
    23: "Find",
}
_COMMANDS = {name.lower(): name for name in COMMAND_CODES.values()}
_USER_TAG = 8  # MS-ASHTTP 2.2.1.1.1.1.3

BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
_PRINTABLE = frozenset(string.printable) - frozenset(string.whitespace) | {" "}


def caseless(text: str) -> str:
    """A device id, or what a user logs on with, as it compares: without regard to case.

    Exchange keeps a device as an object below its user, whose name holds the id: a cn, and like
    the names of accounts equal in any case (RFC 4519 2.3). A box on the way or a log may write it
    otherwise than the device does. Character by character, as the report's database does it.
    """
    return text.lower() if text.isascii() else "".join(char.lower()[0] for char in text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a query says, before the headers are added."""

    encoding: QueryEncoding = "none"
    command: str | None = None
    version: str | None = None
    device_id: str | None = None
    device_type: str | None = None
    user: str | None = None
    has_policy_key: bool = False


class MalformedError(Exception):
    """One plain sentence about a query or a header; `read_request` turns it into `problem`."""


def encoding_of(query: str) -> QueryEncoding:
    """A plain query holds `name=value`; a base64 one holds `=` at its end only."""
    if not query:
        return "none"
    if "&" in query or "=" in query.rstrip("=") or re.match("cmd=", query, re.IGNORECASE):
        return "plain"
    return "base64"


def read_query(query: str) -> Query:
    if len(query) > MAX_QUERY:
        raise MalformedError(f"the query is longer than {MAX_QUERY} characters")
    match encoding_of(query):
        case "none":
            return Query()
        case "plain":
            return _read_plain(query)
        case "base64":
            return _read_base64(query)


def _read_plain(query: str) -> Query:
    """MS-ASHTTP 2.2.1.1.1.2. Names without regard to case, in any order."""
    values: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, raw = pair.partition("=")
        key, value = _percent_decoded(name).lower(), _percent_decoded(raw)
        if values.setdefault(key, value) != value:
            raise MalformedError(f"the query names {_shown(key)} twice, with different values")
    return Query(
        encoding="plain",
        command=_command_named(_value(values, "cmd")),
        device_id=_value(values, "deviceid"),
        device_type=_value(values, "devicetype"),
        user=_value(values, "user"),
    )


def unquoted(text: str) -> bytes:
    """Percent-encoding undone, total. Raw bytes of a target come as surrogates (PEP 383)."""
    try:
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return unquote_to_bytes(text.encode("utf-8", "replace"))


def legacy_text(raw: bytes) -> str:
    """UTF-8, else Windows-1252, as old devices write it. What that does not define becomes a
    control character, which no name may hold."""
    for codec in ("utf-8", "cp1252"):
        try:
            return raw.decode(codec)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def _percent_decoded(text: str) -> str:
    """Percent-encoding and `+` undone."""
    if "%" not in text and text.isascii():
        return text.replace("+", " ")
    if BAD_PERCENT.search(text):
        raise MalformedError("the query has a percent sign without two hexadecimal digits")
    return legacy_text(unquoted(text.replace("+", " ")))


def _value(values: dict[str, str], key: str) -> str | None:
    return _checked(values.get(key), key)


def _checked(value: str | None, name: str) -> str | None:
    """A value that may be kept, None for an empty one."""
    if not value:
        return None
    if len(value) > MAX_VALUE:
        raise MalformedError(f"{name} in the query is longer than {MAX_VALUE} characters")
    if not value.isprintable():
        raise MalformedError(f"{name} in the query holds control characters")
    return value


def _command_named(name: str | None) -> str | None:
    return None if name is None else _COMMANDS.get(name.lower(), name)


def _shown(key: str) -> str:
    """Only names that MS-ASHTTP knows are repeated in a sentence."""
    known = {"cmd": "Cmd", "user": "User", "deviceid": "DeviceId", "devicetype": "DeviceType"}
    return known.get(key, "a parameter")


class _Cursor:
    """Bounded reads from the decoded bytes of a base64 query."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes; the one place that looks at the end."""
        end = self._at + count
        if end > len(self._data):
            raise MalformedError(f"the base64 query ends inside {what}")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def byte(self, what: str) -> int:
        return self.take(1, what)[0]

    def counted(self, what: str) -> bytes:
        """A value behind its length byte."""
        return self.take(self.byte(what), what)

    @property
    def left(self) -> bool:
        return self._at < len(self._data)


def _read_base64(query: str) -> Query:
    """MS-ASHTTP 2.2.1.1.1.1: one base64 value for the whole query."""
    cursor = _Cursor(_base64_bytes(query))
    version = cursor.byte("the protocol version")
    code = cursor.byte("the command code")
    cursor.take(2, "the locale")
    device_id = cursor.counted("the device id")
    policy_key = cursor.counted("the policy key")
    if len(policy_key) not in (0, 4):
        raise MalformedError("the base64 query has a policy key that is not 4 bytes long")
    device_type = cursor.counted("the device type")
    return Query(
        encoding="base64",
        command=COMMAND_CODES.get(code, str(code)),
        version=f"{version // 10}.{version % 10}",
        device_id=_device_id(device_id),
        device_type=_checked(legacy_text(device_type), "the device type"),
        user=_checked(_user_parameter(cursor), "User"),
        has_policy_key=any(policy_key),
    )


def _base64_bytes(query: str) -> bytes:
    """`%2B %2F %3D` and missing padding are common and harmless."""
    if BAD_PERCENT.search(query):
        raise MalformedError("the query has a percent sign without two hexadecimal digits")
    text = unquoted(query).decode("latin-1")
    if not _BASE64.fullmatch(text):
        raise MalformedError("the query is neither plain nor base64")
    text = text.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise MalformedError("the query is neither plain nor base64") from None


def _device_id(raw: bytes) -> str | None:
    text = raw.decode("latin-1")
    return (text if _PRINTABLE.issuperset(text) else raw.hex().upper()) or None


def _user_parameter(cursor: _Cursor) -> str | None:
    """The parameters behind the fixed part; only the user is of interest."""
    user = None
    while cursor.left:
        tag, value = cursor.byte("a parameter"), cursor.counted("a parameter")
        if tag != _USER_TAG:
            continue
        if user is not None and user != legacy_text(value):
            raise MalformedError("the base64 query names two users")
        user = legacy_text(value)
    return user


type Headers = tuple[tuple[str, str], ...]

_PATHS = frozenset(
    {
        "/microsoft-server-activesync",
        "/microsoft-server-activesync/",
        "/microsoft-server-activesync/default.eas",
    }
)
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_VERSION_HEADER = "ms-asprotocolversion"
_VERSION = re.compile(r"([1-9][0-9]?)\.([0-9])", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class EASRequest:
    """What the request line and the headers of one EAS request say.

    Absent facts are None. `problem` is one plain sentence about a query that could not be read
    (then everything that comes from the query is None) or about a header, or None.
    """

    method: str
    command: str | None = None  # canonical spelling of MS-ASHTTP; an unknown one as it came
    query_encoding: QueryEncoding = "none"
    protocol_version: str | None = None  # "14.1"; header MS-ASProtocolVersion, or the base64 byte
    device_id: str | None = None  # binary ids as upper-case hexadecimal
    device_type: str | None = None
    user: str | None = None  # User= of a plain query, tag 8 of a base64 one, decoded
    has_policy_key: bool = False  # its value is a secret and is never kept
    problem: str | None = None


def is_eas_path(target: str) -> bool:
    """Whether a request target (origin or absolute form) is that of Exchange ActiveSync.

    Exchange serves the virtual directory itself and `default.eas` in it. Compared as IIS does:
    without regard to case, percent-encoding undone once, repeated slashes as one. A path that is
    still odd after that (encoded slashes, backslashes, dot segments) is not taken for EAS.
    """
    path = _origin_form(target).partition("?")[0]
    if path.lower() in _PATHS:
        return True
    if len(path) > MAX_VALUE or "%2f" in path.lower():
        return False
    decoded = unquoted(path).decode("latin-1").lower()
    return re.sub("/{2,}", "/", decoded) in _PATHS


def read_request(method: str, target: str, headers: Headers) -> EASRequest:
    """Total: any method, target and headers give a request; what is malformed is in `problem`."""
    versions = tuple(header_values(headers, _VERSION_HEADER))
    return read_request_line(method, target, versions, has_policy_key=_has_policy_key(headers))


def read_request_line(
    method: str, target: str, versions: tuple[str, ...], *, has_policy_key: bool
) -> EASRequest:
    """`read_request`, for whoever has the two headers that count. `versions`: each
    MS-ASProtocolVersion, trimmed."""
    query = target.partition("?")[2]
    length = len(method) + len(query) + sum(map(len, versions))
    # A base64 query may hold a policy key, which is a secret.
    if length <= MAX_USUAL and encoding_of(query) != "base64":
        return _usual_line(method, query, versions, has_policy_key)
    return _read_line(method, query, versions, has_policy_key)


def _read_line(
    method: str, in_target: str, in_headers: tuple[str, ...], has_policy_key: bool
) -> EASRequest:
    problems = []
    try:
        query = read_query(in_target)
    except MalformedError as error:
        problems.append(str(error))
        query = Query(encoding=encoding_of(in_target))
    version = _agreed(query.version, in_headers)
    if in_headers and version is None and query.version is None:
        problems.append("the MS-ASProtocolVersion header is not one version")
    return EASRequest(
        method=method.upper(),
        command=_command(method, query.command),
        query_encoding=query.encoding,
        protocol_version=version,
        device_id=query.device_id,
        device_type=query.device_type,
        user=query.user,
        has_policy_key=query.has_policy_key or has_policy_key,
        problem="; ".join(problems) or None,
    )


_usual_line = lru_cache(maxsize=4096)(_read_line)


def _command(method: str, named: str | None) -> str | None:
    """OPTIONS is not a command (MS-ASHTTP 2.2.3), though some clients send `Cmd=OPTIONS`."""
    is_options = method.upper() == "OPTIONS" and (named or "").upper() == "OPTIONS"
    return None if is_options else named


def header_values(headers: Headers, name: str) -> list[str]:
    """All values of a header in order, without regard to the case of its name, trimmed."""
    size = len(name)
    return [v.strip() for key, v in headers if len(key) == size and key.lower() == name]


def _origin_form(target: str) -> str:
    """RFC 9112 3.2.2: the absolute form without scheme and authority."""
    absolute = None if target.startswith("/") else _ABSOLUTE.match(target)
    if absolute is None:
        return target
    return target[absolute.end() :]


def _agreed(in_query: str | None, in_headers: tuple[str, ...]) -> str | None:
    """MS-ASHTTP 2.2.1.1.1.1 and 2.2.1.1.2.4. Versions that disagree are no version."""
    named = {*in_headers, *([] if in_query is None else [in_query])}
    if len(named) != 1:
        return None
    (version,) = named
    return version if _VERSION.fullmatch(version) else None


def _has_policy_key(headers: Headers) -> bool:
    """MS-ASHTTP 2.2.1.1.2.6: 0 says that the device has none yet."""
    return any(value not in ("", "0") for value in header_values(headers, "x-ms-policykey"))
