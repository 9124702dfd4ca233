"""Can this device work at its target? A verdict with its rule and its source. Pure.

What a device speaks here is bounded by the old server (Exchange 2010 and 2013 end at 14.1), so a
version equal to that ceiling says nothing: the client family and its system do.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from eas_redirect.policy.exchange_online import is_eas_host
from eas_redirect.telemetry.clients import Client, version

ONLINE_FLOOR = "16.1"
FLOOR_SOURCE = "https://aka.ms/EASVersionUpdate"  # message center MC1197103, December 2025
BASIC_SOURCE = (
    "https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/"
    "deprecation-of-basic-authentication-exchange-online"
)
REDIRECT_SOURCE = "https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-ashttp"


_PASSWORD_SCHEMES = frozenset({"basic", "ntlm"})


class Prospect(StrEnum):
    """What to expect at the target."""

    READY = "ready"
    ASKED = "asked_to_sign_in"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """A verdict, the rule that led to it in one sentence, and where that is documented."""

    verdict: Prospect
    rule: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about an account that will not survive the move."""

    code: str  # logon_down_level, logon_bare, upn_not_primary_smtp
    message: str


def readiness_of(
    client: Client | None,
    *,
    host: str | None,
    protocol_version: str | None = None,
    ceiling: str | None = None,
    auth_scheme: str | None = None,
) -> Readiness:
    """What to expect of a client at `host`.

    `protocol_version` is what it speaks to the old server, `ceiling` the highest version that the
    old server was seen to speak.
    """
    if host is None:
        return _unknown("Where the mailbox went is not known.", REDIRECT_SOURCE)
    if not is_eas_host(host):
        return Readiness(
            verdict=Prospect.READY,
            rule=f"{host} is not Exchange Online, which alone refuses old versions and passwords.",
            source=FLOOR_SOURCE,
        )
    if client is None:
        return _by_version(protocol_version, ceiling) or _unknown(
            "Nobody knows this client; try one device first.", FLOOR_SOURCE
        )
    return (
        _judge_online(client, auth_scheme)
        or _by_version(protocol_version, ceiling)
        or _unheard(client)
    )


def _judge_online(client: Client, auth_scheme: str | None) -> Readiness | None:
    row, title = client.family, _titled(client)
    if row.machine:
        return _unknown(f"{title}: a probe, nobody's device.", row.source)
    if not row.eas_online:
        rule = f"{title} does not use ActiveSync towards Exchange Online: add the account again."
        return Readiness(verdict=Prospect.ASKED, rule=rule, source=row.source)
    if client.speaks is not None and version(client.speaks) < version(ONLINE_FLOOR):
        return _refused(
            f"{title} speaks {client.speaks} at most; Exchange Online asks for {ONLINE_FLOOR}"
            " since March 2026.",
            row.source,
        )
    if client.sign_in == "none":
        return _refused(
            f"{title} knows passwords only, which Exchange Online refuses since October 2022.",
            row.source,
        )
    if client.speaks is None or client.sign_in is None:
        return None
    if auth_scheme == "bearer":
        rule = f"{title} speaks {client.speaks} and signs in with a token already."
        return Readiness(verdict=Prospect.READY, rule=rule, source=row.source)
    account = (
        "its account uses a password, which ends with the move."
        if auth_scheme in _PASSWORD_SCHEMES
        else "how its account signs in does not show here, and a password ends with the move."
    )
    rule = f"{title} speaks {client.speaks}; {account}"
    return Readiness(verdict=Prospect.ASKED, rule=rule, source=BASIC_SOURCE)


def _by_version(spoken: str | None, ceiling: str | None) -> Readiness | None:
    """Below the ceiling, the device chose less than it was offered, so it cannot speak more."""
    if not spoken or not ceiling or version(spoken) >= min(version(ceiling), version(ONLINE_FLOOR)):
        return None
    return _refused(
        f"Speaks {spoken} where {ceiling} is offered, so it does not know {ONLINE_FLOOR}.",
        FLOOR_SOURCE,
    )


def _unheard(client: Client) -> Readiness:
    return _unknown(
        f"{_titled(client)}: whether this one speaks {ONLINE_FLOOR} and signs in with a token"
        " depends on its version; try one device first.",
        client.family.source,
    )


def _titled(client: Client) -> str:
    if client.os_version and client.family.os:
        return f"{client.family.title} on {client.family.os} {client.os_version}"
    return client.family.title


def _refused(rule: str, source: str) -> Readiness:
    return Readiness(verdict=Prospect.REFUSED, rule=rule, source=source)


def _unknown(rule: str, source: str) -> Readiness:
    return Readiness(verdict=Prospect.UNKNOWN, rule=rule, source=source)


def logon_findings(logon_format: str | None, host: str | None) -> tuple[Finding, ...]:
    """Exchange Online knows users by their UPN: other logons end with the move."""
    if not is_eas_host(host):
        return ()
    match logon_format:
        case "down_level":
            return (
                Finding(
                    code="logon_down_level",
                    message=r"logs on as DOMAIN\user; Exchange Online wants the UPN",
                ),
            )
        case "bare":
            return (
                Finding(
                    code="logon_bare",
                    message="logs on with a bare name; Exchange Online wants the UPN",
                ),
            )
        case _:
            return ()


def address_findings(
    user_principal_name: str | None, proxy_addresses: tuple[str, ...], mail: str | None
) -> tuple[Finding, ...]:
    """Whether the UPN is the primary SMTP address (`SMTP:` in capitals), as phones expect."""
    primary = next((a[5:] for a in proxy_addresses if a.startswith("SMTP:")), mail)
    if not user_principal_name or not primary:
        return ()
    if user_principal_name.lower() == primary.lower():
        return ()
    return (
        Finding(
            code="upn_not_primary_smtp",
            message=f"the UPN {user_principal_name} is not the primary address {primary}:"
            " phones that ask for an address will sign in under the wrong name",
        ),
    )


def os_version(device_os: str | None) -> str | None:
    """The version in what a device says about its system (`iOS 12.1 16B92`: the OS of the
    Settings command in MS-ASCMD)."""
    found = re.search(r"[0-9]+(?:\.[0-9]+)*", device_os or "")
    return found.group() if found else None


# Why a device may be stuck: the likeliest cause, from what it did after its redirect.

FIRST_WITH_451 = "14.0"  # KB 2751417: devices below it were not expected to know 451

NTLM_REFUSALS = 2  # of each logon that succeeds: without a token, and with the first one


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the returning calls of a redirected device were answered, counted by kind."""

    comebacks: int
    refused_logon: int = 0  # 401, which is not a comeback; NTLM alone has two for each
    served: int = 0  # Exchange answered as if the mailbox were here
    directory_down: int = 0
    last_reason: str | None = None
    protocol_version: str | None = None


def likely_cause(did: Behaviour, readiness: Readiness | None) -> str:
    """One sentence with what to do. An assumption, and worded as one."""
    if did.served * 2 > did.comebacks or did.last_reason == "recipient_has_mailbox":
        return "Exchange serves it here again: was the mailbox moved back?"
    if did.refused_logon > NTLM_REFUSALS * did.comebacks:
        return "Exchange refuses its password: an account left on the phone. Remove the account."
    if did.directory_down * 2 > did.comebacks:
        return "No directory could be asked when it came back. See the directory's faults first."
    if did.protocol_version and version(did.protocol_version) < version(FIRST_WITH_451):
        return (
            f"Speaks {did.protocol_version}, and apps below {FIRST_WITH_451} may not know the"
            " redirect. Set up the account again."
        )
    if readiness is not None and readiness.verdict is Prospect.REFUSED:
        return f"The target refuses it. {readiness.rule}"
    if readiness is not None and readiness.verdict is Prospect.ASKED:
        return "The target wants a sign-in that nobody has done yet. Ask the user to sign in."
    return "The app seems to ignore the redirect. Set up the account again."
