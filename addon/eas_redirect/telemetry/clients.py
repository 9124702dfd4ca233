"""Which app is calling: User-Agent and DeviceType in, a client family out. Standard library only.

The table with its sources is `data/client_families.toml`. Both names are written by the client and
prove nothing: they serve reports and readiness, never a decision.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

type SignIn = Literal["modern", "none"]
type Version = tuple[int, ...]

MAX_LENGTH = 512  # characters looked at; a User-Agent is below 100, whatever is longer is noise

# An Apple build number begins with its train: 16B92 is iOS 12.1. From train 23 on Apple names the
# system after the year, so that 23 is iOS 26.
_FIRST_TRAIN, _FIRST_IOS = 7, 3
_TRAIN_OF_26 = 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One row of the table; see the head of `client_families.toml` for each column."""

    name: str
    title: str
    source: str
    user_agent: tuple[re.Pattern[str], ...] = ()
    device_type: tuple[re.Pattern[str], ...] = ()
    os: str | None = None
    speaks: str | None = None
    speaks_from_os: str | None = None
    speaks_before: str | None = None
    sign_in: SignIn | None = None
    sign_in_from_os: str | None = None
    eas_online: bool = True
    machine: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client as far as its own words tell: the family, and its system's version if it names
    one."""

    family: Family
    os_version: str | None = None

    @property
    def speaks(self) -> str | None:
        """The highest ActiveSync version it is known to speak; None: not known."""
        row = self.family
        if row.speaks_from_os is None:
            return row.speaks
        if self.os_version is None:
            return None
        new = version(self.os_version) >= version(row.speaks_from_os)
        return row.speaks if new else row.speaks_before

    @property
    def sign_in(self) -> SignIn | None:
        """Whether it can do modern authentication; None: not known."""
        row = self.family
        if row.sign_in_from_os is None:
            return row.sign_in
        if self.os_version is None:
            return None
        new = version(self.os_version) >= version(row.sign_in_from_os)
        return row.sign_in if new else "none"


def version(text: str) -> Version:
    """`"16.1"` → `(16, 1)`: compares as versions do."""
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", text))


def client_family(user_agent: str | None, device_type: str | None) -> str | None:
    """The family's name as journals have it, or None for an unknown client."""
    client = client_of(user_agent, device_type)
    return client.family.name if client else None


def client_of(user_agent: str | None, device_type: str | None) -> Client | None:
    """The client: by its User-Agent if a row knows it, otherwise by its DeviceType."""
    return _identified(
        user_agent and user_agent[:MAX_LENGTH], device_type and device_type[:MAX_LENGTH]
    )


@lru_cache(maxsize=4096)
def _identified(user_agent: str | None, device_type: str | None) -> Client | None:
    if user_agent:
        for row in client_families():
            if (found := _first(row.user_agent, user_agent)) is not None:
                return Client(family=row, os_version=_os_version(found))
    if device_type:
        for row in client_families():
            if _first(row.device_type, device_type) is not None:
                return Client(family=row)
    return None


@cache
def client_families() -> tuple[Family, ...]:
    """The table, in its order."""
    text = files("eas_redirect").joinpath("data/client_families.toml").read_text("utf-8")
    return tuple(_family(row) for row in tomllib.loads(text)["family"])


@cache
def words() -> frozenset[str]:
    """What apps, makers and systems call themselves in the table, in lower case."""
    patterns = (
        pattern.pattern
        for row in client_families()
        for pattern in (*row.user_agent, *row.device_type)
    )
    plain = [re.sub(r"\(\?P<\w+>|\(\?[:!=]|\\.", " ", pattern) for pattern in patterns]
    joined = [pattern.replace(" ?", "") for pattern in plain]  # `Secure ?Mail`
    found = (re.findall(r"[A-Za-z0-9]*[A-Za-z]{3}[A-Za-z0-9]*", text) for text in plain + joined)
    return frozenset(word.casefold() for each in found for word in each)


def family(name: str) -> Family | None:
    """The row of that name."""
    return next((row for row in client_families() if row.name == name), None)


def _family(row: dict[str, object]) -> Family:
    either = _patterns(row.pop("either", ()))
    patterns = {key: _patterns(row.pop(key, ())) + either for key in ("user_agent", "device_type")}
    return Family(**patterns, **row)  # type: ignore[arg-type]  # the file is ours, and tested


def _patterns(texts: object) -> tuple[re.Pattern[str], ...]:
    assert isinstance(texts, list | tuple)  # noqa: S101 - the file is ours, and tested
    return tuple(re.compile(text, re.IGNORECASE) for text in texts)


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> re.Match[str] | None:
    return next((m for p in patterns if (m := p.match(text))), None)


def _os_version(found: re.Match[str]) -> str | None:
    groups = found.groupdict()
    if build := groups.get("build"):
        return _ios_of_train(int(build))
    return groups.get("os_version")


def _ios_of_train(train: int) -> str | None:
    if train < _FIRST_TRAIN:
        return None
    ios = train - _FIRST_TRAIN + _FIRST_IOS
    return str(ios if train < _TRAIN_OF_26 else train - _TRAIN_OF_26 + 26)
