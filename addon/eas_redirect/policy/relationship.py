"""From a recipient's targetAddress to the one relationship that claims its domain. Pure."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from eas_redirect.activesync.host_name import HostNameError, normalize_domain
from eas_redirect.directory.values import (
    Drift,
    OrganizationRelationship,
    Recipient,
    Relationships,
    Unavailable,
)
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.target import leads_to
from eas_redirect.policy.verdict import Pass, Policy, Trail, ended

# Oddities in the relationships, as the decision sees them.


def findings(
    relationships: Iterable[OrganizationRelationship], policy: Policy
) -> tuple[Drift, ...]:
    """At most one finding for each enabled relationship: its `kind` is the reason that its users
    would pass with, or `host_mapped`."""
    judged = (_judge(known, policy) for known in relationships if known.enabled)
    return tuple(finding for finding in judged if finding is not None)


def _judge(relationship: OrganizationRelationship, policy: Policy) -> Drift | None:
    name = relationship.name
    target = leads_to(relationship, policy)
    if isinstance(target, Pass):
        message = f"the relationship {name} redirects nobody: {target.detail}"
        return Drift(kind=str(target.reason), message=message, relationship=name)
    if target.mapped:
        message = (
            f"the TargetOwaURL of {name} names {target.named_host}, where no ActiveSync is: "
            f"phones are sent to {target.host}"
        )
        return Drift(kind="host_mapped", message=message, relationship=name)
    return None


_ADDRESS_TYPE = re.compile(r"([A-Za-z0-9]+):", re.ASCII)
# RFC 5322 3.2.3 and 3.2.4, RFC 6531 3.3: a part of atoms, whatever their dots, or a quoted one.
_LOCAL_PART = re.compile(r'[^\x00-\x20\x7f()<>\[\]:;@\\,"]+|"(?:[^"\\]|\\.)*"')


def target_domain(recipient: Recipient, trail: Trail | None) -> str | Pass:
    """The domain of the recipient's targetAddress, lower case and in A-labels."""
    question = "Where does targetAddress lead?"
    address = recipient.target_address
    if not address:
        detail = "The recipient has no targetAddress, so nothing says where the mailbox is."
        return ended(trail, question, Pass(reason=Reason.NO_TARGET_ADDRESS, detail=detail))
    try:
        domain = _smtp_domain(address)
    except HostNameError as error:
        detail = f"The targetAddress cannot be used: {error}."
        return ended(trail, question, Pass(reason=Reason.TARGET_ADDRESS_INVALID, detail=detail))
    if trail:
        trail.good(question, f"To the domain {domain}.")
    return domain


@lru_cache(maxsize=4096)
def _smtp_domain(target_address: str) -> str:
    """The part after the last `@` (a quoted local part may hold one, RFC 5321 4.1.2)."""
    address = target_address.strip(" ")
    if any(character.isspace() or not character.isprintable() for character in address):
        raise HostNameError("it holds a space or a control character")
    if prefix := _ADDRESS_TYPE.match(address):
        if prefix[1].lower() != "smtp":
            raise HostNameError("it is no SMTP address")
        address = address[prefix.end() :]
    local, _, domain = address.rpartition("@")
    # Without regard to width, since a character that looks like a separator may be read as one.
    if not _LOCAL_PART.fullmatch(unicodedata.normalize("NFKC", local)):
        raise HostNameError("it is no single SMTP address")
    return normalize_domain(domain)


def relationship_of(
    domain: str, relationships: Relationships, policy: Policy, trail: Trail | None
) -> OrganizationRelationship | Pass:
    """The one enabled relationship that claims the domain; configured ones win."""
    question = f"Which relationship claims {domain}?"
    claims = _claims(domain, policy.relationships)
    if not claims:
        if isinstance(relationships, Unavailable):
            return ended(trail, question, unavailable(relationships))
        claims = _claims(domain, relationships)
        if (unknown := _may_claim(relationships, claims)) is not None:
            return ended(trail, question, replace(unavailable(unknown), target_domain=domain))
    enabled = [claim for claim in claims if claim.enabled]
    if len(enabled) == 1:
        if trail:
            trail.good(question, f"{enabled[0].name}, of the {enabled[0].source}.")
        return enabled[0]
    stop = _no_single_claim(
        domain, claims, nothing_known=not (relationships or policy.relationships)
    )
    return ended(trail, question, replace(stop, target_domain=domain))


def _claims(
    domain: str, relationships: tuple[OrganizationRelationship, ...]
) -> list[OrganizationRelationship]:
    """By the exact domain name: no wildcard, no parent domain."""
    return [one for one in relationships if domain in one.claimed]


def _may_claim(
    relationships: tuple[OrganizationRelationship, ...], claims: list[OrganizationRelationship]
) -> Unavailable | None:
    """Another relationship whose domains are not all known, so that this may be one of them."""
    for one in relationships:
        if one.enabled and one.domains_unknown is not None and one not in claims:
            message = f"the relationship {one.name} may have further domains: {one.domains_unknown}"
            return Unavailable(error_type="domain_names_unknown", message=message)
    return None


def _no_single_claim(
    domain: str, claims: list[OrganizationRelationship], *, nothing_known: bool
) -> Pass:
    names = ", ".join(claim.name for claim in claims)
    if nothing_known:
        detail = (
            "Not one relationship can be read: the account may lack the right to read"
            " CN=Federation."
        )
        return Pass(reason=Reason.NO_RELATIONSHIP, detail=detail)
    if not claims:
        detail = f"No relationship names the domain {domain}."
        return Pass(reason=Reason.NO_RELATIONSHIP, detail=detail)
    if any(claim.enabled for claim in claims):
        detail = f"More than one enabled relationship names the domain {domain}: {names}."
        return Pass(reason=Reason.RELATIONSHIP_AMBIGUOUS, detail=detail, relationship=names)
    detail = f"The relationship for {domain} is disabled: {names}."
    return Pass(reason=Reason.RELATIONSHIP_DISABLED, detail=detail, relationship=names)


def unavailable(outcome: Unavailable) -> Pass:
    detail = f"The directory cannot tell ({outcome.error_type}): {outcome.message}"
    return Pass(reason=Reason.DIRECTORY_UNAVAILABLE, detail=detail)
