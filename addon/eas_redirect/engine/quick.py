"""Where mitmproxy spends much of an exchange's time: done with less work and the same result.

Per exchange it reads some twenty-five header values, fifteen options and the fields of a dozen
events, each the long way. `Engine` alone uses this; a plain mitmdump with the addon is left as it
is. Tests hold each against the original.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args

from mitmproxy import http, options
from mitmproxy.utils.strutils import always_bytes

type _Checks = tuple[tuple[str, tuple[type, ...]], ...]

_get_all = http.Headers.get_all
_check_fields: Callable[[http.MessageData], None] = http.MessageData.__post_init__
_checks: dict[type, _Checks] = {}
_SCALARS = (str, int, float, bool, type(None))


def quicken() -> None:
    """Put the quick functions in place; a second call changes nothing."""
    for owner, name, quick in _QUICK:
        setattr(owner, name, quick)


def restore() -> None:
    """Take them away again: for tests."""
    for owner, name, original in _ORIGINALS:
        setattr(owner, name, original)


def header_values(self: http.Headers, name: str | bytes) -> list[str]:
    """`Headers.get_all`: every value of a header, whatever its case."""
    wanted = always_bytes(name, "utf-8", "surrogateescape").lower()
    size = len(wanted)
    return [
        value.decode("utf-8", "surrogateescape")
        for key, value in self.fields
        if len(key) == size and key.lower() == wanted
    ]


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


class QuickOptions(options.Options):
    """mitmproxy's options; a value that cannot be changed in place is not copied when read."""

    def __getattr__(self, attr: str) -> Any:
        option = self._options.get(attr)
        if option is not None and isinstance(option.value, _SCALARS):
            return option.value
        return super().__getattr__(attr)  # type: ignore[no-untyped-call]


_QUICK: tuple[tuple[type, str, object], ...] = (
    (http.Headers, "get_all", header_values),
    (http.MessageData, "__post_init__", checked_fields),
)
_ORIGINALS = (
    (http.Headers, "get_all", _get_all),
    (http.MessageData, "__post_init__", _check_fields),
)
