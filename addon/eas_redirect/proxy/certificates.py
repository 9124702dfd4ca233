"""Certificates of a running proxy: those that phones see, and those that Exchange is verified with.

SIGHUP reads both again, for new connections. Certificates that cannot be used, or would cut phones
off when the current ones do not, are refused, and the old ones stay.
"""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mitmproxy import ctx
from mitmproxy.optmanager import unset

from eas_redirect.certificates.front import Front, judge_front, read_front
from eas_redirect.certificates.trouble import PUT_BETWEEN
from eas_redirect.certificates.x509 import CertificateFileError, pem, read_trusted

# What to do when TLS with Exchange fails: a sentence for each recognizable cause.

OLD_VERSIONS = frozenset({"UNBOUNDED", "SSL3", "TLS1", "TLS1_1"})  # of tls_version_server_min

_PIN = "proxy.upstream_ca to a file with its certificate, or its CA's, in PEM form"
_OUT_OF_REACH = f"it seems to speak nothing above SSLv3, RC4 or 3DES: {PUT_BETWEEN}"
_OLDER = f"its TLS or its certificate is an old one: set proxy.upstream_tls_min = '1.0', and {_PIN}"

# Text in OpenSSL's or mitmproxy's message → what helps; the first match counts.
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
        "it lacks secure renegotiation (RFC 5746): install Windows' update for it, or"
        f" {PUT_BETWEEN}",
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
    """Advice for an administrator in one sentence, or None. `minimum` is tls_version_server_min."""
    said = error.lower()
    for signs, advice in _CAUSES:
        if any(sign in said for sign in signs):
            return advice
    if any(sign in said for sign in (*_NO_COMMON_GROUND, *_CLOSED)):
        return _OUT_OF_REACH if minimum in OLD_VERSIONS else _OLDER
    return None


MINIMUM = "tls_version_server_min"
TRUST = "ssl_verify_upstream_trusted_ca"

logger = logging.getLogger(__name__)


def allow_old_versions() -> None:
    """`proxy.upstream_tls_min = "1.0"`, with the ciphers, keys and signatures of its time. What
    somebody has set on mitmproxy's own command line stands."""
    if dict(ctx.options.items())[MINIMUM].value is unset:
        ctx.options.update(**{MINIMUM: "TLS1"})
        logger.info("eas-redirect: set for this job: %s=TLS1", MINIMUM)


class FrontCertificates:
    """The certificates that the option `certs` names."""

    def __init__(self) -> None:
        self._fronts: tuple[Front, ...] = ()
        self._warned = False
        self.refused: str | None = None  # why a renewed file is not in force

    def shown(self) -> None:
        """A phone was shown a certificate: warn if it is one that mitmproxy made."""
        if not self._fronts and not self._warned:
            self._warned = True
            logger.warning(
                "eas-redirect: a client was shown a certificate that mitmproxy made, which no phone"
                " trusts: set proxy.cert, or end TLS in front of the proxy"
            )

    @property
    def expires(self) -> datetime | None:
        """The first expiry among them."""
        return min((front.own.not_valid_after_utc for front in self._fronts), default=None)

    def look(self, names: Sequence[str]) -> None:
        """Read them and say what phones will reject. Raises CertificateFileError."""
        self._fronts = _read_fronts()
        self._remark(names)

    def renew(self, names: Sequence[str]) -> None:
        """Read all files again, or, if one is bad, keep all the old ones.

        mitmproxy forgets its certificates before it reads the new ones, so they are tried first.
        """
        if not ctx.options.certs:
            return
        try:
            self._fronts = _read_fronts()
        except CertificateFileError as error:
            self.refused = f"the old certificates stay: {error}"
            logger.error("eas-redirect: %s", self.refused)
            return
        self.refused = None
        ctx.options.update(certs=ctx.options.certs)
        logger.info("eas-redirect: the certificates were read again")
        self._remark(names)

    def _remark(self, names: Sequence[str]) -> None:
        for front in self._fronts:
            for remark in judge_front(front, names, datetime.now(UTC)):
                # Never an error, which would end mitmproxy at the start: a test may want this.
                logger.warning("eas-redirect: the certificate in %s: %s", front.path.name, remark)


class UpstreamTrust:
    """What Exchange is verified with: a PEM copy of the file that the option names, so that DER
    works too and a file under renewal is never read half."""

    def __init__(self) -> None:
        self.source: Path | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._copies = 0
        self._stamp: object = None

    def adopt(self, configured: Path | None) -> None:
        """At the start: the option's file, else the configured one. Raises CertificateFileError."""
        named = getattr(ctx.options, TRUST)
        self.source = Path(named).expanduser() if named else configured
        if self.source is not None:
            self.use(self.read())

    @property
    def in_force(self) -> str | None:
        """The copy that mitmproxy uses now."""
        value: str | None = getattr(ctx.options, TRUST)
        return value

    def has_changed(self) -> bool:
        """Whether the file differs from the one that was read last."""
        return self.source is not None and _stamp(self.source) != self._stamp

    def read(self) -> str:
        """A copy of what the file holds now. Raises CertificateFileError."""
        assert self.source is not None  # noqa: S101 - for who has one
        self._stamp = _stamp(self.source)
        content = pem(read_trusted(self.source))
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="eas-redirect-ca-")
        self._copies += 1  # mitmproxy remembers a file by its name
        copy = Path(self._folder.name) / f"{self._copies}.pem"
        copy.write_bytes(content)
        return str(copy)

    def use(self, copy: str | None) -> None:
        ctx.options.update(**{TRUST: copy})

    @contextlib.contextmanager
    def tried(self, copy: str | None) -> Iterator[None]:
        """Use this copy for whatever is prepared inside. Do not await anything inside."""
        before = self.in_force
        self.use(copy)
        try:
            yield
        finally:
            self.use(before)

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _read_fronts() -> tuple[Front, ...]:
    paths = [spec.partition("=")[2] or spec for spec in ctx.options.certs]
    passphrase = ctx.options.cert_passphrase or None
    return tuple(read_front(Path(path).expanduser(), passphrase) for path in paths)


def _stamp(path: Path) -> object:
    with contextlib.suppress(OSError):
        seen = os.stat(path)  # noqa: PTH116 - follows links, which renewals lead elsewhere
        return (seen.st_mtime_ns, seen.st_size, seen.st_ino, seen.st_dev)
    return None
