"""Exchange's certificate may bear either of its names, or the configured one.

Without a proxy it has to bear the name that phones call. An administrator who names a server, as in
`reverse:https://ex07.contoso.local`, may as well expect that name in it: it is what Exchange makes
for itself, and what `eas-redirect check` looks for. mitmproxy asks for the phones' name only, where
they come over TLS, and never takes a common name. `proxy.upstream_name` replaces both: Exchange is
called by it (SNI), and its certificate has to bear it, whatever the phones called.

What is trusted: the certificates in the configured file, including the server's own; without a file
those of the system, and the ones that mitmproxy brings. Everything else is verified as before.
"""

import logging
import ssl
from collections.abc import Sequence
from functools import partial
from typing import cast
from weakref import WeakSet

from mitmproxy import ctx, tls
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.proxy.mode_specs import ReverseMode
from OpenSSL import SSL, crypto

from eas_redirect.certificates.x509 import bears

_MISMATCHES = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN
_taught: WeakSet[SSL.Context] = WeakSet()


class _SaidByUs(logging.Filter):
    """Drops the line that mitmproxy logs for each failed handshake with a server: every attempt of
    a phone causes one. The addon reports the failure once, with its cause."""

    _logger = logging.getLogger("mitmproxy.proxy.server")

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Server TLS handshake failed.")

    def install(self) -> None:
        self._logger.addFilter(self)

    def remove(self) -> None:
        self._logger.removeFilter(self)


SAID_BY_US = _SaidByUs()


def accept_both(data: tls.TlsData, only: str | None = None, also: Sequence[str] = ()) -> None:
    """For the hook `tls_start_server`: prepare TLS as mitmproxy does, but accept a second name, or
    `only` one. `also`: further valid names, unless there is an only one."""
    mode, tls_config = data.context.client.proxy_mode, ctx.master.addons.get("tlsconfig")
    if not isinstance(mode, ReverseMode) or data.ssl_conn is not None or tls_config is None:
        return
    if only:
        data.conn.sni = only
    prepared = _prepared(cast("TlsConfig", tls_config), data)
    if prepared is not None and not ctx.options.ssl_insecure:
        _teach(prepared.get_context())
        good = (only,) if only else (mode.address[0], *also)
        prepared.set_verify(SSL.VERIFY_PEER, partial(_verified, good))


def _prepared(tls_config: TlsConfig, data: tls.TlsData) -> SSL.Connection | None:
    tls_config.tls_start_server(data)
    return data.ssl_conn


def _teach(context: SSL.Context) -> None:
    """Once for each context: a chain may end at the server's own certificate, and the system's
    authorities are trusted."""
    if context in _taught:
        return
    _taught.add(context)
    store = context.get_cert_store()
    if store is None:
        return
    store.set_flags(_PARTIAL_CHAIN)
    named = (
        ctx.options.ssl_verify_upstream_trusted_ca,
        ctx.options.ssl_verify_upstream_trusted_confdir,
    )
    system = ssl.get_default_verify_paths()
    if not any(named) and (system.cafile or system.capath):
        store.load_locations(system.cafile, system.capath)


def _verified(
    hosts: Sequence[str],
    _: SSL.Connection,
    certificate: crypto.X509,
    error: int,
    _depth: int,
    ok: int,
) -> bool:
    """OpenSSL asks about one thing at a time; all of them must be good."""
    if error in _MISMATCHES:
        shown = certificate.to_cryptography()
        return any(bears(shown, host) for host in hosts)
    return bool(ok)
