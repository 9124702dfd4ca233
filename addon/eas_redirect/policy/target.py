"""From a relationship to the endpoint that this device may be sent to. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.host_name import (
    HostNameError,
    comparable,
    normalize_domain,
    normalize_host,
)
from eas_redirect.activesync.host_port import HostPortError, read_host_port
from eas_redirect.directory.values import OrganizationRelationship, Recipient
from eas_redirect.policy.exchange_online import DEFAULT_HOST_MAP, Cloud, cloud_of
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.verdict import Endpoint, Pass, Policy, Trail, ended, protocol_version
from eas_redirect.policy.waves import membership

# From a relationship's TargetOwaURL to X-MS-Location.
#
# A phone keeps the location, so anything but a plain http(s) URL with a DNS name is refused.
# The URL is taken apart here by RFC 3986 3.2 and not by `urllib`, which drops line ends and tabs.

EAS_PATH = "/Microsoft-Server-ActiveSync"  # MS-ASHTTP 2.2.1.1.1
MAX_LED = 1024  # relationships; an organization has a few, and now and then one of them changes
MAX_URL = 2048  # characters: no TargetOwaURL is longer, and no client keeps more

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)", re.IGNORECASE)
# Controls, format characters (bidi, zero width), surrogates, unassigned, every kind of space.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Not a URL that a phone may be sent to; `detail` is a sentence that does not repeat it."""

    detail: str


def endpoint(
    target_owa_url: str, host_map: Mapping[str, str] = DEFAULT_HOST_MAP
) -> Endpoint | Refused:
    """The EAS endpoint of a TargetOwaURL. Total. The host map's keys are lower-case A-labels."""
    try:
        named = _named_host(target_owa_url)
        host = normalize_domain(host_map.get(named, named))
    except HostNameError as error:
        return Refused(detail=f"The TargetOwaURL cannot be used: {error}.")
    return Endpoint(location=f"https://{host}{EAS_PATH}", host=host, named_host=named)


def is_allowed(host: str, allowed_hosts: Iterable[str] | None) -> bool:
    """Whether a host matches one of the globs (`*` stands for dots too); None allows every host."""
    return allowed_hosts is None or any(fnmatchcase(host, glob) for glob in allowed_hosts)


def is_own_name(host: str, own_names: Iterable[str]) -> bool:
    """Whether a phone sent to `host` would come back here, which makes some clients loop for
    ever."""
    wanted = comparable(host)
    return any(comparable(name) == wanted for name in own_names)


def is_full_name(host: str) -> bool:
    """Whether a phone can have called this name: not an address, not a single label."""
    last = host.rpartition(".")[2]
    return "." in host and not host.startswith("[") and not last.isdecimal()


@lru_cache(maxsize=1024)
def _named_host(url: str) -> str:
    """The URL's host in A-labels, not yet mapped, or HostNameError."""
    if len(url) > MAX_URL:
        raise HostNameError(f"it is longer than {MAX_URL} characters")
    if "\\" in url or any(unicodedata.category(character) in _UNSEEN for character in url):
        raise HostNameError("it holds a space, a control character or a backslash")
    parts = _URL.match(url)
    if parts is None or parts["scheme"].lower() not in {"http", "https"}:
        raise HostNameError("it is no http or https URL")
    return normalize_host(_without_port(parts["authority"]))


def _without_port(authority: str) -> str:
    if "@" in authority:
        raise HostNameError("it holds user information")
    if "[" in authority or authority.count(":") > 1:
        raise HostNameError("the host is an IP address")
    try:
        host, port = read_host_port(authority, 443)
    except HostPortError:
        raise HostNameError("the port is invalid") from None
    if port == 0:
        raise HostNameError("the port is invalid")
    return host


_UNKNOWN_NAME = {
    False: "The name that the phone called is not known (no Host, several, an address or a single"
    " label), so a loop cannot be ruled out",
    # What is called for Autodiscover (MS-OXDISCO 3.1.5) is not what is called for ActiveSync.
    True: "No name is known by which devices call this server for ActiveSync, so a loop cannot be"
    " ruled out",
}


def target_for(
    exchange: Exchange,
    recipient: Recipient,
    relationship: OrganizationRelationship,
    policy: Policy,
    trail: Trail | None,
) -> Endpoint | Pass:
    """The relationship's endpoint, if this device may be sent there."""
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
    relationship: OrganizationRelationship, policy: Policy, trail: Trail | None
) -> Endpoint | Pass:
    question = "Where does TargetOwaURL lead?"
    target = leads_to(relationship, policy)
    if isinstance(target, Pass):
        return ended(trail, question, target)
    if trail:
        mapped = f" (the host map turns {target.named_host} into it)" if target.mapped else ""
        trail.good(question, f"To {target.location}{mapped}.")
    return target


def leads_to(relationship: OrganizationRelationship, policy: Policy) -> Endpoint | Pass:
    """Where a relationship sends phones, whoever they belong to; a pass says why nowhere. Worked
    out once for each policy."""
    known = policy.led.get(relationship)
    if known is None:
        if len(policy.led) >= MAX_LED:
            policy.led.clear()
        known = policy.led[relationship] = _leads_to(relationship, policy)
    return known


def _leads_to(relationship: OrganizationRelationship, policy: Policy) -> Endpoint | Pass:
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
    """The hosts of the application URI and of the Autodiscover address, if readable."""
    uris = (relationship.target_application_uri, relationship.target_autodiscover_epr)
    return tuple(host for host in map(_host_of, uris) if host is not None)


def _cloud_by_another_sign(relationship: OrganizationRelationship) -> Cloud | None:
    """The cloud of Exchange Online that a relationship points to by anything except
    TargetOwaURL."""
    sharing = _host_of(relationship.target_sharing_epr) or ""
    names = (*relationship.domain_names, *_other_side(relationship), sharing)
    return next((cloud for name in names if (cloud := cloud_of(name.lower()))), None)


@lru_cache(maxsize=1024)
def _host_of(address: str | None) -> str | None:
    """The host of a URL, or of a bare name such as an application URI; None for anything else."""
    text = (address or "").strip()
    scheme, separator, rest = text.partition("://")
    authority = re.split(r"[/?#]", rest if separator else scheme, maxsplit=1)[0]
    try:
        return normalize_domain(re.sub(r":[0-9]*\Z", "", authority).removesuffix("."))
    except HostNameError:
        return None


def _loop(target: Endpoint, exchange: Exchange, policy: Policy, trail: Trail | None) -> Pass | None:
    question = "Is the target another server than this one?"
    own_names = (*policy.own_names, *exchange.called_names, *exchange.further_names)
    if is_own_name(target.host, own_names):
        detail = f"{target.host} leads back here: the phone would come back for ever."
    elif not policy.own_names and not any(map(is_full_name, exchange.called_names)):
        detail = f"{_UNKNOWN_NAME[exchange.is_autodiscover]}: set exchange.host_names."
    else:
        if trail:
            trail.good(question, "Yes.")
        return None
    return ended(trail, question, Pass(reason=Reason.REDIRECT_LOOP, detail=detail))


def _version_too_low(exchange: Exchange, policy: Policy, trail: Trail | None) -> Pass | None:
    """OPTIONS asks which versions exist, so it is redirected at any version (MS-ASHTTP 2.2.3)."""
    question = f"Does the device speak {policy.min_protocol_version} or newer?"
    if exchange.is_autodiscover:
        if trail:
            trail.good(question, "Autodiscover comes before a version is agreed on.")
        return None
    if exchange.request.method.upper() == "OPTIONS":
        if trail:
            trail.good(question, "OPTIONS is redirected at any version.")
        return None
    version = exchange.request.protocol_version
    known = protocol_version(version)
    if known is not None and known >= policy.least_version:
        if trail:
            trail.good(question, f"It speaks {version}.")
        return None
    said = f"speaks {version}" if known else "names no version that can be read"
    least = f"exchange.min_protocol_version is {policy.min_protocol_version}"
    detail = f"The device {said}; {least}."
    return ended(trail, question, Pass(reason=Reason.PROTOCOL_VERSION_TOO_LOW, detail=detail))


def _not_in_wave(
    exchange: Exchange, recipient: Recipient, policy: Policy, trail: Trail | None
) -> Pass | None:
    question = "Is this user and device in the wave?"
    belongs = membership(policy.wave, exchange, recipient)
    if belongs.member:
        if trail:
            trail.good(question, belongs.detail)
        return None
    stop = Pass(reason=Reason.NOT_IN_WAVE, detail=belongs.detail, wave=policy.wave.name)
    return ended(trail, question, stop)
