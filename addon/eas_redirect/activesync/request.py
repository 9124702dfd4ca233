"""An EAS request: method, target and headers in, `EASRequest` out. Pure; standard library only.

Sources: MS-ASHTTP 2.2.1.1.1 (request line, plain and base64 query), 2.2.1.1.2 (headers).
"""

import re
from dataclasses import dataclass

from eas_redirect.activesync.query import (
    BAD_PERCENT,
    MAX_VALUE,
    MalformedError,
    Query,
    QueryEncoding,
    encoding_of,
    read_query,
    unquoted,
)

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
    if len(path) > MAX_VALUE or "%2f" in path.lower() or BAD_PERCENT.search(path):
        return False
    decoded = unquoted(path).decode("latin-1").lower()
    return re.sub("/{2,}", "/", decoded) in _PATHS


def read_request(method: str, target: str, headers: Headers) -> EASRequest:
    """Total: any method, target and headers give a request; what is malformed is in `problem`."""
    problems = []
    try:
        query = read_query(_origin_form(target).partition("?")[2])
    except MalformedError as error:
        problems.append(str(error))
        query = Query(encoding=encoding_of(_origin_form(target).partition("?")[2]))
    in_headers = header_values(headers, _VERSION_HEADER)
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
        has_policy_key=query.has_policy_key or _has_policy_key(headers),
        problem="; ".join(problems) or None,
    )


def _command(method: str, named: str | None) -> str | None:
    """OPTIONS is no command (MS-ASHTTP 2.2.3), though some clients write `Cmd=OPTIONS` with it."""
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
    rest = target[absolute.end() :]
    return rest if rest.startswith("/") else f"/{rest}"


def _agreed(in_query: str | None, in_headers: list[str]) -> str | None:
    """MS-ASHTTP 2.2.1.1.1.1 and 2.2.1.1.2.4. Versions that disagree are no version."""
    named = {*in_headers, *([] if in_query is None else [in_query])}
    if len(named) != 1:
        return None
    (version,) = named
    return version if _VERSION.fullmatch(version) else None


def _has_policy_key(headers: Headers) -> bool:
    """MS-ASHTTP 2.2.1.1.2.6: 0 says that the device has none yet."""
    return any(value not in ("", "0") for value in header_values(headers, "x-ms-policykey"))
