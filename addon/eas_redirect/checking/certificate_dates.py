"""Checks of certificates: their dates, and the one that phones see."""

import datetime
from collections.abc import Iterator, Sequence

from cryptography import x509

from eas_redirect.certificates.front import SOON_DAYS, Front, judge_front, read_front
from eas_redirect.certificates.x509 import CertificateFileError, bears, names_of
from eas_redirect.checking.tried import Check, failed, good, warning
from eas_redirect.configuration.config import Config
from eas_redirect.telemetry.record import Carrier


def judge_dates(
    subject: str, certificate: x509.Certificate | bytes | None, now: datetime.datetime
) -> Check:
    """How long the certificate (or its DER) is valid."""
    if isinstance(certificate, bytes):
        certificate = _read(certificate)
    if certificate is None:
        return warning(subject, "its certificate cannot be read")
    ends = certificate.not_valid_after_utc
    day = f"{ends:%Y-%m-%d}"
    days = (ends - now).days
    if ends < now:
        return failed(subject, f"its certificate ended on {day}", "Renew it.")
    if days <= SOON_DAYS:
        return warning(subject, f"its certificate ends on {day}, in {days} days", "Renew it.")
    return good(subject, f"its certificate is good until {day}")


def check_front(config: Config, carrier: Carrier = "mitmproxy") -> Iterator[Check]:
    """The certificate that phones see."""
    path, subject = config.proxy.cert, "proxy.cert"
    if path is None:
        if config.exchange.trusted_proxies:
            yield good(subject, "none: TLS ends in front of the proxy")
        elif config.proxy.upstream is not None:
            advice = "Set it, or name the TLS front in exchange.trusted_proxies."
            found = {
                "mitmproxy": "phones would be shown a certificate of mitmproxy's",
                "haproxy": "HAProxy takes phones without TLS",
            }
            yield warning(subject, found[carrier], advice)
        return
    try:
        front = read_front(path)
    except CertificateFileError as error:
        yield failed(subject, str(error), "Correct the file.")
        return
    remarks = list(judge_front(front, config.exchange.host_names, _now()))
    for remark in remarks:
        state = failed if remark.grave else warning
        yield state(subject, remark.finding, f"{remark.advice[:1].upper()}{remark.advice[1:]}.")
    if config.autodiscover.phones != "off":
        yield from _check_autodiscover(front, config.exchange.host_names)
    if not remarks:
        ends = f"{front.own.not_valid_after_utc:%Y-%m-%d}"
        yield good(subject, f"for {', '.join(names_of(front.own)[:5])}, good until {ends}")


def _check_autodiscover(front: Front, host_names: Sequence[str]) -> Iterator[Check]:
    """When an account is added, phones look at `autodiscover.` and the domain of the address
    (MS-OXDISCO 3.1.5). The names that phones call usually tell these domains."""
    wanted = dict.fromkeys(_autodiscover_name(name) for name in host_names if name.count(".") > 1)
    missing = [name for name in wanted if not bears(front.own, name)]
    if not host_names and not any(map(_may_be_autodiscovers, names_of(front.own))):
        missing = ["autodiscover.DOMAIN"]
    if missing:
        finding = f"autodiscover.phones is on, and it is not for {', '.join(missing)}"
        advice = "Take one that names autodiscover. and each domain of your users' addresses."
        yield warning("proxy.cert", finding, advice)


def _autodiscover_name(host: str) -> str:
    return host if host.startswith("autodiscover.") else f"autodiscover.{host.partition('.')[2]}"


def _may_be_autodiscovers(name: str) -> bool:
    return name.startswith(("autodiscover.", "*."))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _read(der: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        return None
