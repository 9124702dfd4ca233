"""Questions without credentials: OPTIONS, which every ActiveSync server answers; Autodiscover."""

import http.client
from urllib.parse import SplitResult

from eas_redirect.autodiscover.request import PATH
from eas_redirect.certificates.handshake import any_tls
from eas_redirect.checking.values import Check, failed, good, warning
from eas_redirect.policy.endpoint import EAS_PATH


def ask_options(
    url: SplitResult, port: int, timeout_s: float
) -> tuple[int, http.client.HTTPMessage]:
    return _ask(url, port, timeout_s, "OPTIONS", EAS_PATH)


def ask_autodiscover(url: SplitResult, port: int, timeout_s: float) -> int:
    return _ask(url, port, timeout_s, "POST", PATH)[0]


def _ask(
    url: SplitResult, port: int, timeout_s: float, method: str, path: str
) -> tuple[int, http.client.HTTPMessage]:
    """Nothing secret is sent, so whether the server is believed does not matter here."""
    host, secured = url.hostname or "", url.scheme == "https"
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout_s, context=any_tls())
        if secured
        else http.client.HTTPConnection(host, port, timeout=timeout_s)
    )
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.headers
    finally:
        connection.close()


def judge_options(subject: str, status: int, headers: http.client.HTTPMessage) -> Check:
    """Without credentials Exchange asks for them; whatever else answers is not Exchange's EAS."""
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
    return good(subject, f"{asks}; ActiveSync {version or 'named'}")


def judge_autodiscover(subject: str, status: int, *, weak: bool) -> Check:
    """`weak`: whether something hangs on its asking for a logon."""
    if status == 401:
        return good(subject, "asks to log on")
    finding = f"answered {status} to a POST without credentials"
    advice = "Is Autodiscover served there? Phones that ask it are told nothing."
    if weak:
        advice += " While it asks nobody for a logon (401), autodiscover.weak helps nobody."
    return failed(subject, finding, advice) if weak else warning(subject, finding, advice)
