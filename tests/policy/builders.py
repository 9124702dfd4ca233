"""Exchanges and policies for tests, from a few words."""

from dataclasses import replace

from eas_redirect.activesync.authorization import (
    Credentials,
    Identity,
    Logon,
    LogonFormat,
    LogonSource,
)
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import Answer, Evidence
from eas_redirect.directory.values import OrganizationRelationship, Recipient

CLOUD = OrganizationRelationship(
    name="Cloud", domain_names=("cloud.example",), target_owa_url="http://outlook.com/owa"
)
MOVED = Recipient(
    dn="CN=Anna,OU=People,DC=contoso,DC=example",
    user_principal_name="anna@contoso.example",
    sam_account_name="anna",
    mail="anna.alt@contoso.example",
    mail_nickname="anna",
    proxy_addresses=("SMTP:anna.alt@contoso.example", "smtp:a.alt@contoso.example"),
    target_address="SMTP:anna@cloud.example",
)


def logon(text: str) -> Logon:
    """As the protocol room reads it, for the plain forms."""
    if "\\" in text:
        domain, _, user = text.partition("\\")
        return _logon(text, user, domain, "down_level")
    if "@" in text:
        user, _, domain = text.rpartition("@")
        return _logon(text, user, domain, "upn")
    return _logon(text, text, None, "bare")


def _logon(text: str, user: str, domain: str | None, form: LogonFormat) -> Logon:
    return Logon(text=text, user=user, domain=domain, format=form)


def exchange(
    *,
    method: str = "POST",
    version: str | None = "14.1",
    status: int = 200,
    evidence: Evidence = Evidence.CERTAIN,
    who: str | None = "anna@contoso.example",
    device_type: str | None = "iPhone",
    client_address: str | None = "192.0.2.7",
    called_host: str | None = "mail.contoso.example",
    source: LogonSource = "authorization",
    challenged: bool = True,
) -> Exchange:
    return Exchange(
        request=EASRequest(method=method, protocol_version=version, device_type=device_type),
        credentials=Credentials(scheme="basic"),
        identity=identity(who, source),
        answer=Answer(status_code=status, evidence=evidence),
        called_names=(called_host,) if called_host else (),
        client_address=client_address,
        challenged=challenged,
    )


def identity(who: str | None, source: LogonSource = "authorization") -> Identity:
    if who is None:
        return Identity(problem="Neither the Authorization header nor the query tells who asks.")
    return Identity(logon=logon(who), source=source)


def with_problem(given: Exchange, part: str, problem: str) -> Exchange:
    match part:
        case "request":
            return replace(given, request=replace(given.request, problem=problem))
        case "answer":
            return replace(given, answer=replace(given.answer, problem=problem))
        case _:
            return replace(
                given,
                credentials=replace(given.credentials, problem=problem),
                identity=Identity(problem=f"The Authorization header: {problem}"),
            )
