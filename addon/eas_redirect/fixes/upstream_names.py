"""The certificate of Exchange may bear either of its names.

Without a proxy it has to bear the name that phones call. An administrator who names a server, as in
`reverse:https://ex07.contoso.local`, may as well expect that name in it: it is what Exchange makes
for itself, and what `eas-redirect check` looks for. mitmproxy asks for the phones' name only, where
they come over TLS, and never takes a common name. All else is verified as before.
"""

import contextlib
import ipaddress
from functools import partial
from typing import cast

from cryptography import x509
from mitmproxy import ctx, tls
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.proxy.mode_specs import ReverseMode
from OpenSSL import SSL, crypto

_MISMATCHES = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def accept_both(data: tls.TlsData) -> None:
    """For the hook `tls_start_server`: prepare TLS as mitmproxy does, with a second name."""
    mode, tls_config = data.context.client.proxy_mode, ctx.master.addons.get("tlsconfig")
    if not isinstance(mode, ReverseMode) or data.ssl_conn is not None or tls_config is None:
        return
    prepared = _prepared(cast("TlsConfig", tls_config), data)
    if prepared is not None and not ctx.options.ssl_insecure:
        prepared.set_verify(SSL.VERIFY_PEER, partial(_verified, mode.address[0]))


def _prepared(tls_config: TlsConfig, data: tls.TlsData) -> SSL.Connection | None:
    tls_config.tls_start_server(data)
    return data.ssl_conn


def _verified(
    host: str, _: SSL.Connection, certificate: crypto.X509, error: int, _depth: int, ok: int
) -> bool:
    """OpenSSL's verdict about one thing; all of them have to be good."""
    if error in _MISMATCHES:
        return bears(certificate.to_cryptography(), host)
    return bool(ok)


def bears(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate is one for this host: `*` may stand for a name's first label, and the
    common name counts where there is no alternative one (RFC 6125 6.4), as in many an old one."""
    names, addresses = _alternatives(certificate)
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in addresses
    if not names:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        names = {str(attribute.value).lower() for attribute in common}
    wanted = host.lower().removesuffix(".")
    first, _, rest = wanted.partition(".")
    return wanted in names or bool(first and "." in rest and f"*.{rest}" in names)


def _alternatives(certificate: x509.Certificate) -> tuple[set[str], set[object]]:
    """Names in lower case, and addresses."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set(), set()
    names = {name.lower() for name in found.get_values_for_type(x509.DNSName)}
    return names, set(found.get_values_for_type(x509.IPAddress))
