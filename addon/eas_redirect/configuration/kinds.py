"""The kinds of values in eas-redirect.toml. Each checks itself and says in words what is wrong.

Messages never repeat a value that could hold a secret. Used by `config.py` only.
"""

import ipaddress
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Strict, ValidationInfo

from eas_redirect.activesync.host_name import HostNameError, normalize_domain, normalize_host
from eas_redirect.activesync.host_port import (
    HostPortError,
    UnbracketedError,
    read_host_port,
    read_server_url,
)
from eas_redirect.configuration.user_list import CONTROL, UserListError, read_name, read_users
from eas_redirect.directory.ldap.servers import parse_server
from eas_redirect.directory.names import is_dn
from eas_redirect.policy.waves import Network

# How the users of an account domain are found here: by the same account name, or by the SID that
# its own controllers tell (msExchMasterAccountSid).
type AccountDomainRule = Literal["same_name"] | tuple[str, ...]

_GLOB = re.compile(r"[a-z0-9.*?-]+", re.ASCII)
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?")
_DOMAIN = re.compile(r"[^\W_](?:[\w.-]*\w)?")
UPSTREAM_PORTS = {"http": 80, "https": 443}
WHERE_SECRETS_BELONG = (
    "a password never stands in this file: put it into a file of its own (directory.password_file)"
    " or into an environment variable (directory.password_env)"
)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")
    if not value.strip():
        raise ValueError("is empty")
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise ValueError(
            "holds a control character, as a backslash in double quotes makes one:"
            " use single quotes"
        )
    return value


def _of_text[T](read: Callable[[str], T]) -> Callable[[object], T]:
    def validate(value: object) -> T:
        try:
            return read(_text(value))
        except HostNameError as error:
            raise ValueError(f"is no host name: {error}") from error

    return validate


def _resolve(value: object, info: ValidationInfo) -> Path:
    """A relative path starts from the folder of the file that names it."""
    base: Path = info.context["base"] if info.context else Path.cwd()
    return base / _text(value)


def _existing(value: object, info: ValidationInfo) -> Path:
    path = _resolve(value, info)
    try:
        exists = path.exists()
    except OSError as error:  # a name too long, a folder above it that may not be entered
        raise ValueError(f"{path} cannot be reached: {error.strerror}") from None
    if not exists:
        raise ValueError(f"there is no file {path}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path} cannot be read: mind its owner and mode")
    return path


def _filled(value: object, info: ValidationInfo) -> Path:
    path = _existing(value, info)
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    return path


def _journal(value: object, info: ValidationInfo) -> str:
    return "-" if value == "-" else str(_resolve(value, info))


def _set_variable(name: str) -> str:
    if not os.environ.get(name):
        raise ValueError("names an environment variable that is not set")
    return name


def _network(text: str) -> Network:
    try:
        return _plain_network(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no network such as 10.0.0.0/8 and no address") from None
    raise ValueError(f"has bits set outside the network: is {meant} meant?")


def _plain_network(network: Network) -> Network:
    """An IPv4 network written as IPv6 (RFC 4291 2.5.5.2) becomes IPv4, like devices' addresses."""
    begin = network.network_address
    if isinstance(begin, ipaddress.IPv4Address) or network.prefixlen < 96 or not begin.ipv4_mapped:
        return network
    return ipaddress.IPv4Network((begin.ipv4_mapped, network.prefixlen - 96))


def _no_url(text: str) -> None:
    if "://" in text:
        host = text.partition("://")[2].partition("/")[0]
        raise ValueError(f"is a URL: write the host alone, as in {host or 'mail.contoso.example'}")


def _host_name(text: str) -> str:
    _no_url(text)
    return normalize_host(text)


def _host_glob(text: str) -> str:
    _no_url(text)
    glob = ".".join(
        label if label.isascii() else normalize_host(label) for label in text.lower().split(".")
    )
    if not _GLOB.fullmatch(glob):
        raise ValueError("may hold letters, digits, hyphens, dots, * and ? only")
    return glob


def _logon_domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text):
        raise ValueError("is no NetBIOS or DNS name of a domain")
    return text


def _distinguished_name(text: str) -> str:
    if "=" not in text:
        raise ValueError("is no distinguished name such as DC=contoso,DC=example")
    return text


def _ldap_url(text: str) -> str:
    if not text.isprintable() or " " in text:
        raise ValueError("holds a space or a control character")
    if "@" in text:
        raise ValueError(f"holds a user or a password: {WHERE_SECRETS_BELONG}")
    host = parse_server(text).host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        normalize_host(host.removesuffix("."))
    return text


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; an empty host is every address of the machine."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """`PORT`, `HOST:PORT` or `[V6]:PORT`. Raises ValueError."""
        text = text.strip()
        try:
            return cls(*read_host_port(text if ":" in text else f":{text}"))
        except UnbracketedError:
            raise
        except HostPortError:
            raise ValueError("must be a port, or host:port, such as 443 or 10.0.0.5:443") from None


def parse_upstream(text: str) -> str:
    """The http or https URL of a server: no path, no trailing slash. Raises ValueError."""
    try:
        url = read_server_url(text, UPSTREAM_PORTS)
    except HostPortError:
        host = text.partition("://")[2] or text
        meant = f"https://{host.partition('/')[0]}"
        raise ValueError(
            f"must be the URL of the old Exchange without a path: is {meant} meant?"
            if _HOST_AND_PORT.fullmatch(host.partition("/")[0])
            else "must be the URL of the old Exchange without a path, such as"
            " https://ex07.contoso.local"
        ) from None
    if ".." in url.address.host:
        raise ValueError(f"names no host: {url.address.host} has two dots in a row")
    return text.removesuffix("/")


def _listen(value: object) -> Listen:
    if isinstance(value, Listen):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # listen = 443, as anybody would write it
    return Listen.parse(_text(value))


def _pages(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)
    if text.isdecimal():
        raise ValueError(f'must be host:port: write "127.0.0.1:{text}"')
    try:
        good = bool(read_host_port(text).host)
    except HostPortError:
        good = False
    if not good:
        raise ValueError("must be host:port, such as 127.0.0.1:9410 or [::1]:9410")
    return text


def _judge(value: object, info: ValidationInfo) -> str:
    """Never a network address: questions hold users' names in clear, and asking needs no logon."""
    text = _text(value)
    if text.startswith("unix:"):
        return f"unix:{_resolve(text.removeprefix('unix:'), info)}"
    try:
        good = ipaddress.ip_address(read_host_port(text).host).is_loopback
    except ValueError:
        good = False
    if not good:
        raise ValueError(
            "must be unix:PATH or a loopback address such as 127.0.0.1:9411, nothing else:"
            " whoever can connect can ask about every user"
        )
    return text


def _account_domain(value: object) -> "AccountDomainRule":
    if value == "same_name":
        return "same_name"
    if isinstance(value, list) and value:
        return tuple(_ldap_url(_text(server)) for server in value)
    raise ValueError(
        'must be "same_name", or a list of ldaps:// URLs of the account domain\'s own controllers'
    )


def _weak_status(value: object) -> object:
    if isinstance(value, int) and value in {401, 449, 451}:
        raise ValueError(f"{value} has a meaning of its own and is never evidence")
    return value


def _users_file(value: object, info: ValidationInfo) -> Path:
    path = _existing(value, info)
    try:
        read_users(path)
    except UserListError as error:
        raise ValueError(str(error)) from None
    return path


def _user_name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")
    if "\t" in value:
        raise ValueError(CONTROL)
    if any(mark in value for mark in ",;") and not is_dn(value):
        raise ValueError('is not one name: give each its own quotes, as in ["anna", "bert"]')
    return read_name(value)


# Lists of TOML become tuples; what is in them stays strict.
type Several[T] = Annotated[tuple[T, ...], Strict(strict=False)]
Text = Annotated[str, BeforeValidator(_text)]
InputFile = Annotated[Path, BeforeValidator(_existing)]
SecretFile = Annotated[Path, BeforeValidator(_filled)]
UserName = Annotated[str, BeforeValidator(_user_name)]
UsersFile = Annotated[Path, BeforeValidator(_users_file)]
OutputFile = Annotated[Path, BeforeValidator(_resolve)]
JournalPath = Annotated[str, BeforeValidator(_journal)]
EnvironmentVariable = Annotated[str, BeforeValidator(_of_text(_set_variable))]
HostName = Annotated[str, BeforeValidator(_of_text(_host_name))]
DomainName = Annotated[str, BeforeValidator(_of_text(normalize_domain))]
HostGlob = Annotated[str, BeforeValidator(_of_text(_host_glob))]
LogonDomain = Annotated[str, BeforeValidator(_of_text(_logon_domain))]
DistinguishedName = Annotated[str, BeforeValidator(_of_text(_distinguished_name))]
LdapUrl = Annotated[str, BeforeValidator(_of_text(_ldap_url))]
ListenValue = Annotated[Listen, BeforeValidator(_listen)]
PagesListen = Annotated[str, BeforeValidator(_pages)]
JudgeAddress = Annotated[str, BeforeValidator(_judge)]
UpstreamAddress = Annotated[str, BeforeValidator(_of_text(parse_upstream))]
Lower = Annotated[str, BeforeValidator(_of_text(lambda text: text.strip().lower()))]
WeakStatus = Annotated[int, BeforeValidator(_weak_status)]
AccountDomainValue = Annotated[Any, BeforeValidator(_account_domain)]
# pydantic has no schema for the union of both address families made by hand.
NetworkValue = Annotated[Any, BeforeValidator(_of_text(_network))]
