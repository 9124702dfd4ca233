"""What certificates are like: their dates, and the one that phones see."""

import datetime

from cryptography import x509

from eas_redirect.checking.values import Check, failed, good, warning

SOON_DAYS = 21  # a certificate that ends within three weeks is worth a line


def judge_dates(
    subject: str, certificate: x509.Certificate | bytes | None, now: datetime.datetime
) -> Check:
    """How long the certificate (or its DER) is good for."""
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


def _read(der: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        return None
