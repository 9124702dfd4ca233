"""Small things that mitmproxy does dozens of times in each exchange, done with less work.

Each gives what the original gives and raises what it raises; tests hold it against the original.
"""

import copy
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any, get_args

from mitmproxy import hooks, http
from mitmproxy.optmanager import _Option, unset
from mitmproxy.utils.strutils import always_bytes

type _Checks = tuple[tuple[str, tuple[type, ...]], ...]

_check_fields: Callable[[http.MessageData], None] = http.MessageData.__post_init__
_make_headers = http.Headers.__init__
_SCALARS = frozenset({str, int, float, bool, type(None)})


@lru_cache(maxsize=256)
def _wanted(name: str | bytes) -> bytes:
    """A name as it is compared. Names that are asked for come from code, not from clients."""
    return always_bytes(name, "utf-8", "surrogateescape").lower()


def header_values(self: http.Headers, name: str | bytes) -> list[str]:
    """`Headers.get_all`: every value of a header, whatever its case."""
    wanted = _wanted(name)
    size = len(wanted)
    return [
        value.decode("utf-8", "surrogateescape")
        for key, value in self.fields
        if len(key) == size and key.lower() == wanted
    ]


def header(self: http.Headers, key: str | bytes, default: Any = None) -> Any:
    """`Headers.get`: all values in one; a header that is absent costs no exception."""
    values = header_values(self, key)
    return ", ".join(values) if values else default


def has_header(self: http.Headers, key: str | bytes) -> bool:
    """`key in headers`."""
    return bool(header_values(self, key))


def make_headers(self: http.Headers, fields: Any = (), **headers: Any) -> None:
    """`Headers.__init__`, for the bytes that were read from a connection."""
    made = tuple(map(tuple, fields))
    if headers or not all(type(key) is type(value) is bytes for key, value in made):
        _make_headers(self, made, **headers)
    else:
        self.fields = made


_checks: dict[type, _Checks] = {}


def checked_fields(self: http.MessageData) -> None:
    """`MessageData.__post_init__`: its types are looked up once a class; a wrong value is left to
    the original, which raises."""
    checks = _checks.get(type(self))
    if checks is None:
        checks = _checks[type(self)] = tuple(_check(f.name, f.type) for f in fields(self))
    for name, types in checks:
        if type(getattr(self, name)) not in types:
            _check_fields(self)
            return


def _check(name: str, annotation: Any) -> tuple[str, tuple[type, ...]]:
    return name, get_args(annotation) or (annotation,)


def current(self: _Option) -> Any:
    """`_Option.current`: a value that cannot be changed in place needs no copy."""
    value = self._default if self.value is unset else self.value
    return value if type(value) in _SCALARS else copy.deepcopy(value)


_names: dict[type, tuple[str, ...]] = {}


def hook_arguments(self: hooks.Hook) -> list[Any]:
    """`Hook.args`: the names of the fields are looked up once a class."""
    names = _names.get(type(self))
    if names is None:
        names = _names[type(self)] = tuple(f.name for f in fields(self))  # type: ignore[arg-type]
    return [getattr(self, name) for name in names]
