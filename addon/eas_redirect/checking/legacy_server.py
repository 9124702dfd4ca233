"""The legacy Exchange as the proxy will see it: reachable, its TLS, its answer to OPTIONS."""

import datetime
import http.client
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import assert_never

from eas_redirect.activesync.host_port import ServerURL
from eas_redirect.autodiscover.phone_request import PATH
from eas_redirect.certificates.handshake import ServerTLS, any_tls
from eas_redirect.certificates.trouble import MODERN, Peer, Trouble, diagnose, examine
from eas_redirect.checking.certificate_dates import judge_dates
from eas_redirect.checking.tried import Check, clock_check, failed, good, unreachable, warning
from eas_redirect.policy.target import EAS_PATH
from eas_redirect.telemetry.clients import version
from eas_redirect.telemetry.web import is_loopback

# Which versions of ActiveSync the legacy Exchange speaks, by its own headers.
#
# Exchange 2007 and older end at 12.1. Below 14.0 KB 2751417 does not expect devices to know the
# 451, so they are left alone unless `exchange.min_protocol_version` says otherwise.

# MS-Server-ActiveSync holds the server's own version: 6.5 is Exchange 2003, 8 is 2007, 14 is 2010.
_CEILINGS = ((7, "2.5", "Exchange 2003"), (14, "12.1", "Exchange 2007"))


def ceiling_of(headers: http.client.HTTPMessage) -> tuple[str, str] | None:
    """The highest version that such a server speaks and its name, if it is below 14.0. None:
    newer, or it does not say."""
    said = headers.get("MS-Server-ActiveSync") or headers.get("X-MS-Server-ActiveSync") or ""
    found = re.match(r"([0-9]{1,3})\.", said.strip())
    if found is None:
        return None
    return next(((top, name) for below, top, name in _CEILINGS if int(found[1]) < below), None)


def judge_generation(
    subject: str, headers: http.client.HTTPMessage, min_protocol_version: str
) -> Iterator[Check]:
    """A warning if all of the server's devices speak less than what is redirected."""
    found = ceiling_of(headers)
    if found is None or version(found[0]) >= version(min_protocol_version):
        return
    ceiling, name = found
    yield warning(
        subject,
        f"this is {name}, whose devices speak {ceiling} at most: with"
        f" exchange.min_protocol_version = {min_protocol_version} nothing but their OPTIONS is"
        " redirected",
        f'Write exchange.min_protocol_version = "{ceiling}" to redirect them too; docs/why.md says'
        " which clients are known to follow.",
    )


def ask_options(url: ServerURL, timeout_s: float) -> tuple[int, http.client.HTTPMessage]:
    return _ask(url, timeout_s, "OPTIONS", EAS_PATH)


def ask_autodiscover(url: ServerURL, timeout_s: float) -> int:
    return _ask(url, timeout_s, "POST", PATH)[0]


def _ask(
    url: ServerURL, timeout_s: float, method: str, path: str
) -> tuple[int, http.client.HTTPMessage]:
    """Nothing secret is sent, so it does not matter here whether the server is trusted."""
    host, port = url.address
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout_s, context=any_tls())
        if url.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=timeout_s)
    )
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.headers
    finally:
        connection.close()


def ceiling_at(url: ServerURL | None, timeout_s: float) -> str | None:
    """The highest version that a server speaks, if that is below 14.0; None if it is not, or if
    it does not answer."""
    if url is None:
        return None
    try:
        found = ceiling_of(ask_options(url, timeout_s)[1])
    except (OSError, http.client.HTTPException):
        return None
    return found[0] if found else None


def judge_options(subject: str, status: int, headers: http.client.HTTPMessage) -> Check:
    """Exchange asks for missing credentials; anything else is not Exchange's EAS."""
    schemes = [value.split(" ")[0] for value in headers.get_all("WWW-Authenticate", [])]
    if status != 401:
        advice = (
            "Is ActiveSync served there, and logging on required? While it asks nobody for a logon"
            " (401), a 403 redirects nobody (logon_not_proven)."
        )
        return failed(subject, f"answered {status} to OPTIONS without credentials", advice)
    if not schemes:
        return failed(subject, "401 without WWW-Authenticate", "Is it Exchange that answers?")
    asks = f"asks to log on by {', '.join(schemes)}"
    version = headers.get("MS-Server-ActiveSync") or headers.get("X-MS-Server-ActiveSync")
    if version is None and not any("activesync" in name.lower() for name in headers):
        # Some versions name themselves only to those who have logged on.
        return good(subject, f"{asks}; it does not name its version before")
    named = f"its server is version {version}" if version else "it names ActiveSync"
    return good(subject, f"{asks}; {named}")


def judge_autodiscover(subject: str, status: int, *, weak: bool) -> Check:
    """`weak`: whether it matters that it asks for a logon."""
    if status == 401:
        return good(subject, "asks to log on")
    finding = f"answered {status} to a POST without credentials"
    advice = "Is Autodiscover served there? Phones that ask it are told nothing."
    if weak:
        advice += " While it asks nobody for a logon (401), autodiscover.weak helps nobody."
    return failed(subject, finding, advice) if weak else warning(subject, finding, advice)


_OF_AGE = frozenset({"old_version", "weak_key", "weak_signature"})
_SEE = "See docs/reference.md, “Old servers”."


def check_upstream(
    url: ServerURL,
    timeout_s: float,
    ca_file: str | None,
    *,
    only: str | None = None,
    also: Sequence[str] = (),
    old: bool = False,
    min_protocol_version: str = "14.0",
) -> Iterator[Check]:
    """`only` is `proxy.upstream_name`; without it, the certificate may bear the host or one of
    `also`, by which phones call. `old`: `proxy.upstream_tls_min` allows TLS 1.0."""
    host, port = url.address
    peer = Peer(
        host=host,
        port=port,
        tls=url.scheme == "https",
        names=(only,) if only else (host, *also),
        ca_file=Path(ca_file) if ca_file else None,
        old=old,
    )
    subject = f"upstream {peer.host}"
    if not peer.tls:
        yield from _check_plain(subject, url, peer, timeout_s, min_protocol_version)
        return
    found = examine(peer, timeout_s)
    if isinstance(found, Trouble) and found.kind in _OF_AGE:
        # What else is wrong shows only to whoever speaks as it does.
        yield failed(f"{subject} TLS", found.finding, f"{_sentence(found.advice)} {_SEE}")
        found = examine(replace(peer, old=True), timeout_s)
    match found:
        case ServerTLS() | None:
            yield from _check_version(subject, found, old=old)
            now = datetime.datetime.now(datetime.UTC)
            if found is not None:
                yield judge_dates(f"{subject} certificate", found.certificate, now)
        case Trouble(kind="unreachable"):
            yield unreachable(subject, found.finding, _sentence(found.advice))
            return
        case Trouble(seen=None):
            yield failed(f"{subject} TLS", found.finding, _sentence(found.advice))
            return
        case Trouble():
            yield from _check_version(subject, found.seen, old=old)
            yield failed(f"{subject} certificate", found.finding, _sentence(found.advice))
        case other:
            assert_never(other)
    yield from _check_options(subject, url, timeout_s, min_protocol_version)


def check_autodiscover(
    url: ServerURL, timeout_s: float, host_names: Sequence[str], *, weak: bool
) -> Iterator[Check]:
    """If phones are told by Autodiscover: does it ask for a logon, and would it loop?"""
    if not host_names:
        yield warning(
            "autodiscover",
            "no name is known by which phones call this server for ActiveSync, until one has",
            "Set exchange.host_names: without a name no phone is told (redirect_loop).",
        )
    subject = f"upstream {url.address.host} Autodiscover"
    try:
        yield judge_autodiscover(subject, ask_autodiscover(url, timeout_s), weak=weak)
    except OSError as error:
        peer = Peer(host=url.address.host, port=url.address.port, tls=url.scheme == "https")
        yield _should_be_https(subject, peer, timeout_s) or _no_connection(subject, error)
    except http.client.HTTPException as error:
        yield failed(subject, f"no HTTP answer ({type(error).__name__})", "Is it a web server?")


def _check_plain(
    subject: str, url: ServerURL, peer: Peer, timeout_s: float, min_protocol_version: str
) -> Iterator[Check]:
    """http; an odd answer may come from https. Most TLS ports just close."""
    checks = list(_check_options(subject, url, timeout_s, min_protocol_version))
    if checks[0].state in ("failed", "unreachable"):
        mistaken = _should_be_https(f"{subject} TLS", peer, timeout_s)
        if mistaken is not None:
            yield mistaken
            return
    if checks[0].state != "unreachable" and not _is_on_this_machine(peer.host):
        advice = "Write https://, or see to it that nobody can listen on the way."
        yield warning(f"{subject} encryption", "passwords cross the network in clear", advice)
    yield from checks


def _should_be_https(subject: str, peer: Peer, timeout_s: float) -> Check | None:
    """If http is spoken to a TLS port."""
    trouble = None if peer.tls else diagnose(peer, timeout_s)
    if trouble is None or trouble.kind != "tls":
        return None
    return failed(subject, trouble.finding, _sentence(trouble.advice))


def _is_on_this_machine(host: str) -> bool:
    """Whether a name resolves only to loopback."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(is_loopback(str(address[0])) for *_, address in found)


def _check_version(subject: str, seen: ServerTLS | None, *, old: bool) -> Iterator[Check]:
    if seen is None:
        return
    if seen.version in MODERN and not seen.is_old:
        yield good(f"{subject} TLS", seen.version)
    elif old:
        yield good(f"{subject} TLS", f"{seen.version}, which proxy.upstream_tls_min allows")


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}."


def _no_connection(subject: str, error: OSError) -> Check:
    advice = "Check the name, the port and the firewall."
    return unreachable(subject, f"no connection: {error.strerror or error}", advice)


def _check_options(
    subject: str, url: ServerURL, timeout_s: float, min_protocol_version: str
) -> Iterator[Check]:
    subject = f"{subject} OPTIONS"
    try:
        status, headers = ask_options(url, timeout_s)
    except OSError as error:
        yield _no_connection(subject, error)
        return
    except http.client.HTTPException as error:
        yield failed(subject, f"no HTTP answer ({type(error).__name__})", "Is it a web server?")
        return
    yield judge_options(subject, status, headers)
    version_subject = subject.replace("OPTIONS", "version")
    yield from judge_generation(version_subject, headers, min_protocol_version)
    yield from _judge_clock(subject.replace("OPTIONS", "clock"), headers.get("Date"))


def _judge_clock(subject: str, date: str | None) -> Iterator[Check]:
    try:
        there = parsedate_to_datetime(date or "")
    except ValueError:
        return
    yield clock_check(subject, there, warning)
