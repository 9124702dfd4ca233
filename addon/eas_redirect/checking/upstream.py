"""The legacy Exchange as the proxy will see it: reachable, its TLS, its answer to OPTIONS."""

import datetime
import http.client
import ssl
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult

from eas_redirect.checking.certificates import Seen, judge_dates, look
from eas_redirect.checking.challenge import ask_options, judge_options
from eas_redirect.checking.values import Check, failed, good, unreachable, warning

CLOCK_S = 300
_MODERN = frozenset({"TLSv1.2", "TLSv1.3"})


def check_upstream(url: SplitResult, timeout_s: float, ca_file: str | None) -> Iterator[Check]:
    subject = f"upstream {url.hostname}"
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    if url.scheme == "https":
        try:
            seen = look((host, port), timeout_s, ca_file, old=True)
        except ssl.SSLError as error:
            yield _no_tls(subject, error)
            return
        except OSError as error:
            yield _no_connection(subject, error)
            return
        yield from _check_tls(subject, seen)
    yield from _check_options(subject, url, port, timeout_s)


def _no_tls(subject: str, error: ssl.SSLError) -> Check:
    advice = (
        "Is it a TLS port? A server that speaks only SSL 3, RC4 or 3DES is out of reach: put"
        " HAProxy or stunnel with an old OpenSSL between."
    )
    return failed(f"{subject} TLS", f"TLS failed: {error.reason}", advice)


def _no_connection(subject: str, error: OSError) -> Check:
    advice = "Check the name, the port and the firewall."
    return unreachable(subject, f"no connection: {error.strerror or error}", advice)


def _check_tls(subject: str, seen: Seen) -> Iterator[Check]:
    advice = "Set tls_version_server_min=TLS1 for mitmproxy; see docs/operate.md."
    if seen.version not in _MODERN:
        yield warning(f"{subject} TLS", f"only {seen.version}", advice)
    elif seen.is_old:
        finding = f"{seen.version}, with a key or a signature of old"
        yield warning(f"{subject} TLS", finding, advice)
    else:
        yield good(f"{subject} TLS", seen.version)
    if seen.distrust is not None:
        advice = (
            "Pin it: save it as a PEM file and set ssl_verify_upstream_trusted_ca to that file;"
            " it must bear the name of the upstream."
        )
        yield failed(f"{subject} certificate", f"not believed: {seen.distrust}", advice)
    now = datetime.datetime.now(datetime.UTC)
    yield judge_dates(f"{subject} certificate", seen.certificate, now)


def _check_options(subject: str, url: SplitResult, port: int, timeout_s: float) -> Iterator[Check]:
    subject = f"{subject} OPTIONS"
    try:
        status, headers = ask_options(url, port, timeout_s)
    except OSError as error:
        yield _no_connection(subject, error)
        return
    except http.client.HTTPException as error:
        yield failed(subject, f"no HTTP answer ({type(error).__name__})", "Is it a web server?")
        return
    yield judge_options(subject, status, headers)
    yield from _judge_clock(subject.replace("OPTIONS", "clock"), headers.get("Date"))


def _judge_clock(subject: str, date: str | None) -> Iterator[Check]:
    try:
        there = parsedate_to_datetime(date or "")
    except ValueError:
        return
    off = abs((datetime.datetime.now(datetime.UTC) - there).total_seconds())
    if off > CLOCK_S:
        finding = f"this machine's is {off / 60:.0f} minutes away from the server's"
        yield warning(subject, finding, "Let both follow the same time source.")
    else:
        yield good(subject, "this machine's agrees with the server's")
