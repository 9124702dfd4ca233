"""What to do when TLS towards Exchange fails: a sentence for each cause that can be told. Pure."""

OLD_VERSIONS = frozenset({"UNBOUNDED", "SSL3", "TLS1", "TLS1_1"})  # of tls_version_server_min

_PIN = "ssl_verify_upstream_trusted_ca=FILE with its certificate, or its CA's, in PEM form"
_BETWEEN = "put HAProxy or stunnel, built with an OpenSSL that still speaks it, between"
_OUT_OF_REACH = f"it seems to speak nothing above SSLv3, RC4 or 3DES: {_BETWEEN}"
_OLDER = f"its TLS or its certificate is an old one: set tls_version_server_min=TLS1, and {_PIN}"

# What OpenSSL's or mitmproxy's message holds → what helps; the first that fits.
_CAUSES = (
    (
        ("hostname mismatch", "ip address mismatch"),
        "its certificate is not for the name that it is called by here: neither that after"
        " reverse:https:// nor the one that the client's TLS named",
    ),
    (("has expired", "not yet valid"), "its certificate must be renewed; pinning does not help"),
    (("too weak", "key too small"), _OLDER),
    (("certificate verify failed",), f"trust its certificate: set {_PIN}"),
    (
        ("legacy renegotiation",),
        f"it lacks secure renegotiation (RFC 5746): install Windows' update for it, or {_BETWEEN}",
    ),
)
_NO_COMMON_GROUND = (
    "cannot agree on a tls version",
    "handshake failure",
    "unsupported protocol",
    "protocol version",
    "no protocols available",
    "wrong version number",
    "insufficient security",
)
_CLOSED = ("connection closed", "unexpected eof")


def tls_advice(error: str, minimum: str) -> str | None:
    """A sentence for an administrator, or None. `minimum` is tls_version_server_min."""
    said = error.lower()
    for signs, advice in _CAUSES:
        if any(sign in said for sign in signs):
            return advice
    if any(sign in said for sign in (*_NO_COMMON_GROUND, *_CLOSED)):
        return _OUT_OF_REACH if minimum in OLD_VERSIONS else _OLDER
    return None
