"""The question that every ActiveSync server answers: OPTIONS, without credentials."""

import http.client
from urllib.parse import SplitResult

from eas_redirect.certificates.handshake import any_tls
from eas_redirect.checking.values import Check, failed, good
from eas_redirect.policy.endpoint import EAS_PATH


def ask_options(
    url: SplitResult, port: int, timeout_s: float
) -> tuple[int, http.client.HTTPMessage]:
    """Nothing secret is sent, so whether the server is believed does not matter here."""
    host, secured = url.hostname or "", url.scheme == "https"
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout_s, context=any_tls())
        if secured
        else http.client.HTTPConnection(host, port, timeout=timeout_s)
    )
    try:
        connection.request("OPTIONS", EAS_PATH)
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
