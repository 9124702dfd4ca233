"""An EAS request: method, target and headers in, `EASRequest` out. Pure; standard library only.

Sources: MS-ASHTTP 2.2.1.1.1 (request line, plain and base64 query), 2.2.1.1.2 (headers).
"""

from dataclasses import dataclass
from typing import Literal

type QueryEncoding = Literal["plain", "base64", "none"]
type Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EASRequest:
    """What the request line and the headers of one EAS request say.

    Absent facts are None. `problem` is one plain sentence about a query that could not be read
    (then everything that comes from the query is None), or None.
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
    """Whether a request target (origin or absolute form) is that of Exchange ActiveSync."""
    raise NotImplementedError


def read_request(method: str, target: str, headers: Headers) -> EASRequest:
    """Total: any method, target and headers give a request; what is malformed is in `problem`."""
    raise NotImplementedError
