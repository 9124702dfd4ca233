"""From a relationship to the endpoint that this device may be sent to. Pure."""

import re
from functools import lru_cache

from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.host_name import HostNameError, normalize_domain
from eas_redirect.directory.values import OrganizationRelationship, Recipient
from eas_redirect.policy.endpoint import (
    Endpoint,
    Refused,
    endpoint,
    is_allowed,
    is_full_name,
    is_own_name,
)
from eas_redirect.policy.exchange_online import Cloud, cloud_of
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.verdict import Pass, Policy, Trail
from eas_redirect.policy.waves import membership

_UNKNOWN_NAME = {
    False: "The name that the phone called is not known (no Host, several, an address or a single"
    " label), so a loop cannot be ruled out",
    # What is called for Autodiscover (MS-OXDISCO 3.1.5) is not what is called for ActiveSync.
    True: "No name is known by which devices call this server for ActiveSync, so a loop cannot be"
    " ruled out",
}
_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})", re.ASCII)


def target_for(
    exchange: Exchange,
    recipient: Recipient,
    relationship: OrganizationRelationship,
    policy: Policy,
    trail: Trail,
) -> Endpoint | Pass:
    """The relationship's endpoint, when this device may be sent there."""
    target = _endpoint(relationship, policy, trail)
    if isinstance(target, Pass):
        return target
    return (
        _loop(target, exchange, policy, trail)
        or _version_too_low(exchange, policy, trail)
        or _not_in_wave(exchange, recipient, policy, trail)
        or target
    )


def _endpoint(
    relationship: OrganizationRelationship, policy: Policy, trail: Trail
) -> Endpoint | Pass:
    question = "Where does TargetOwaURL lead?"
    target = leads_to(relationship, policy)
    if isinstance(target, Pass):
        return trail.stop(question, target)
    mapped = f" (the host map turns {target.named_host} into it)" if target.mapped else ""
    trail.good(question, f"To {target.location}{mapped}.")
    return target


def leads_to(relationship: OrganizationRelationship, policy: Policy) -> Endpoint | Pass:
    """Where a relationship sends phones, whoever they are; a pass has the reason why nowhere."""
    name = relationship.name
    if not relationship.target_owa_url:
        detail = f"The relationship {name} has no TargetOwaURL."
        return Pass(reason=Reason.NO_TARGET_OWA_URL, detail=detail)
    target = endpoint(relationship.target_owa_url, policy.host_map)
    if isinstance(target, Refused):
        return Pass(reason=Reason.TARGET_OWA_URL_INVALID, detail=target.detail)
    cloud = cloud_of(target.host) or cloud_of(target.named_host)
    others = _other_side(relationship)
    if cloud is not None and len(others) == 2 and not any(map(cloud_of, others)):
        detail = (
            f"The TargetOwaURL of {name} names {target.named_host}, which is Exchange Online's, and"
            f" neither its application URI nor its Autodiscover address is ({', '.join(others)})."
        )
        return Pass(reason=Reason.RELATIONSHIP_CONTRADICTORY, detail=detail)
    cloud = cloud or _cloud_by_another_sign(relationship)
    if cloud is not None and target.named_host not in policy.host_map:
        detail = (
            f"{name} leads to Exchange Online, and its TargetOwaURL names {target.named_host},"
            f' where phones find no ActiveSync that they trust: write "{target.named_host}" ='
            f' "{cloud.eas_host}" into redirect.hosts, or map it to itself if ActiveSync is served'
            " under that name."
        )
        return Pass(reason=Reason.TARGET_OWA_URL_INVALID, detail=detail)
    if not is_allowed(target.host, policy.allowed_hosts):
        detail = f"{target.host} matches nothing in redirect.allowed_hosts."
        return Pass(reason=Reason.TARGET_NOT_ALLOWED, detail=detail)
    return target


def _other_side(relationship: OrganizationRelationship) -> tuple[str, ...]:
    """The hosts of the application URI and of the Autodiscover address, as far as readable."""
    uris = (relationship.target_application_uri, relationship.target_autodiscover_epr)
    return tuple(host for host in map(_host_of, uris) if host is not None)


def _cloud_by_another_sign(relationship: OrganizationRelationship) -> Cloud | None:
    """The cloud of Exchange Online that a relationship leads to by anything but TargetOwaURL."""
    sharing = _host_of(relationship.target_sharing_epr) or ""
    names = (*relationship.domain_names, *_other_side(relationship), sharing)
    return next((cloud for name in names if (cloud := cloud_of(name.lower()))), None)


@lru_cache(maxsize=1024)
def _host_of(address: str | None) -> str | None:
    """The host of a URL, or of a bare name as an application URI is; None for what is neither."""
    text = (address or "").strip()
    scheme, separator, rest = text.partition("://")
    authority = re.split(r"[/?#]", rest if separator else scheme, maxsplit=1)[0]
    try:
        return normalize_domain(re.sub(r":[0-9]*\Z", "", authority).removesuffix("."))
    except HostNameError:
        return None


def _loop(target: Endpoint, exchange: Exchange, policy: Policy, trail: Trail) -> Pass | None:
    question = "Is the target another server than this one?"
    called = policy.own_names.union(exchange.called_names)
    if is_own_name(target.host, called.union(exchange.further_names)):
        detail = f"{target.host} leads back here: the phone would come back for ever."
    elif not policy.own_names and not any(map(is_full_name, exchange.called_names)):
        detail = f"{_UNKNOWN_NAME[exchange.is_autodiscover]}: set exchange.host_names."
    else:
        trail.good(question, "Yes.")
        return None
    return trail.stop(question, Pass(reason=Reason.REDIRECT_LOOP, detail=detail))


def _version_too_low(exchange: Exchange, policy: Policy, trail: Trail) -> Pass | None:
    """OPTIONS asks which versions there are and is redirected at any (MS-ASHTTP 2.2.3)."""
    question = f"Does the device speak {policy.min_protocol_version} or newer?"
    if exchange.is_autodiscover:
        trail.good(question, "Autodiscover comes before a version is agreed on.")
        return None
    if exchange.request.method.upper() == "OPTIONS":
        trail.good(question, "OPTIONS is redirected at any version.")
        return None
    version = exchange.request.protocol_version
    known = _version(version)
    if known is not None and known >= (_version(policy.min_protocol_version) or (14, 0)):
        trail.good(question, f"It speaks {version}.")
        return None
    said = f"speaks {version}" if known else "names no version that can be read"
    least = f"exchange.min_protocol_version is {policy.min_protocol_version}"
    detail = f"The device {said}; {least}."
    return trail.stop(question, Pass(reason=Reason.PROTOCOL_VERSION_TOO_LOW, detail=detail))


def _version(text: str | None) -> tuple[int, int] | None:
    parts = _VERSION.fullmatch(text or "")
    return (int(parts[1]), int(parts[2])) if parts else None


def _not_in_wave(
    exchange: Exchange, recipient: Recipient, policy: Policy, trail: Trail
) -> Pass | None:
    question = "Is this user and device in the wave?"
    belongs = membership(policy.wave, exchange, recipient)
    if belongs.member:
        trail.good(question, belongs.detail)
        return None
    stop = Pass(reason=Reason.NOT_IN_WAVE, detail=belongs.detail, wave=policy.wave.name)
    return trail.stop(question, stop)
