"""From a relationship to the endpoint that this device may be sent to. Pure."""

import re

from eas_redirect.activesync.exchange import Exchange
from eas_redirect.directory.values import OrganizationRelationship, Recipient
from eas_redirect.policy.endpoint import Endpoint, Refused, endpoint, is_allowed, is_own_name
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.verdict import Pass, Policy, Trail
from eas_redirect.policy.waves import membership

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
        _not_allowed(target, policy, trail)
        or _loop(target, exchange, policy, trail)
        or _version_too_low(exchange, policy, trail)
        or _not_in_wave(exchange, recipient, policy, trail)
        or target
    )


def _endpoint(
    relationship: OrganizationRelationship, policy: Policy, trail: Trail
) -> Endpoint | Pass:
    question = "Where does TargetOwaURL lead?"
    if not relationship.target_owa_url:
        detail = f"The relationship {relationship.name} has no TargetOwaURL."
        return trail.stop(question, Pass(reason=Reason.NO_TARGET_OWA_URL, detail=detail))
    target = endpoint(relationship.target_owa_url, policy.host_map)
    if isinstance(target, Refused):
        stop = Pass(reason=Reason.TARGET_OWA_URL_INVALID, detail=target.detail)
        return trail.stop(question, stop)
    mapped = f" (the host map turns {target.named_host} into it)" if target.mapped else ""
    trail.good(question, f"To {target.location}{mapped}.")
    return target


def _not_allowed(target: Endpoint, policy: Policy, trail: Trail) -> Pass | None:
    question = "Is the target allowed?"
    if is_allowed(target.host, policy.allowed_hosts):
        trail.good(question, "Yes.")
        return None
    detail = f"{target.host} matches nothing in redirect.allowed_hosts."
    return trail.stop(question, Pass(reason=Reason.TARGET_NOT_ALLOWED, detail=detail))


def _loop(target: Endpoint, exchange: Exchange, policy: Policy, trail: Trail) -> Pass | None:
    question = "Is the target another server than this one?"
    own_names = policy.own_names.union(exchange.further_names)
    if exchange.called_host is None and not policy.own_names:
        detail = (
            "The client named no host, or several, so that a loop cannot be ruled out:"
            " set exchange.host_names."
        )
    elif is_own_name(target.host, exchange.called_host, own_names):
        detail = f"{target.host} leads back here: the phone would come back for ever."
    else:
        trail.good(question, "Yes.")
        return None
    return trail.stop(question, Pass(reason=Reason.REDIRECT_LOOP, detail=detail))


def _version_too_low(exchange: Exchange, policy: Policy, trail: Trail) -> Pass | None:
    """OPTIONS asks which versions there are and is redirected at any (MS-ASHTTP 2.2.3)."""
    question = f"Does the device speak {policy.min_protocol_version} or newer?"
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
