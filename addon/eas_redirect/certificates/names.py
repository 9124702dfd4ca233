"""Whether a certificate is one for a host. Imports neither mitmproxy nor ldap3."""

import contextlib
import ipaddress

from cryptography import x509


def bears(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate is one for this host: `*` may stand for a name's first label, and the
    common name counts where there is no alternative one (RFC 6125 6.4), as in many an old one."""
    names, addresses = _alternatives(certificate)
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in addresses
    names = names or set(_common_names(certificate))
    wanted = host.lower().removesuffix(".")
    first, _, rest = wanted.partition(".")
    return wanted in names or bool(first and "." in rest and f"*.{rest}" in names)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Every name that counts, sorted, as text."""
    names, addresses = _alternatives(certificate)
    return tuple(sorted(names or _common_names(certificate)) + sorted(map(str, addresses)))


def title(certificate: x509.Certificate) -> str:
    """How people tell a certificate: by its common name, else by its first other name."""
    return next(iter((*_common_names(certificate, as_written=True), *names_of(certificate))), "?")


def issuer_title(certificate: x509.Certificate) -> str:
    """The common name of who signed it, else its whole distinguished name."""
    common = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common[0].value) if common else certificate.issuer.rfc4514_string()


def _common_names(certificate: x509.Certificate, *, as_written: bool = False) -> list[str]:
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [str(each.value) if as_written else str(each.value).lower() for each in found]


def _alternatives(certificate: x509.Certificate) -> tuple[set[str], set[object]]:
    """Names in lower case, and addresses. An extension that cannot be read names nobody."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set(), set()
    except ValueError:
        return {""}, set()
    names = {name.lower() for name in found.get_values_for_type(x509.DNSName)}
    return names, set(found.get_values_for_type(x509.IPAddress))
