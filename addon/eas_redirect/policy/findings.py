"""What is odd about a reading of the relationships, seen through the host map. Pure."""

from collections.abc import Iterable, Iterator

from eas_redirect.directory.values import Drift, OrganizationRelationship
from eas_redirect.policy.endpoint import Refused, endpoint, is_allowed
from eas_redirect.policy.exchange_online import cloud_of
from eas_redirect.policy.verdict import Policy


def findings(
    relationships: Iterable[OrganizationRelationship], policy: Policy
) -> tuple[Drift, ...]:
    """One finding at most for each enabled relationship; configured ones stand as written."""
    judged = (_judge(known, policy) for known in relationships if known.enabled)
    return tuple(finding for finding in judged if finding is not None)


def _judge(relationship: OrganizationRelationship, policy: Policy) -> Drift | None:
    name = relationship.name
    if not relationship.target_owa_url:
        message = f"the relationship {name} has no TargetOwaURL: nobody of it will be redirected"
        return Drift(kind="no_target_owa_url", message=message, relationship=name)
    found = endpoint(relationship.target_owa_url, policy.host_map)
    if isinstance(found, Refused):
        message = f"the relationship {name} redirects nobody: {found.detail}"
        return Drift(kind="target_owa_url_invalid", message=message, relationship=name)
    if not is_allowed(found.host, policy.allowed_hosts):
        message = (
            f"the relationship {name} leads to {found.host}, which redirect.allowed_hosts does "
            "not allow: nobody of it will be redirected"
        )
        return Drift(kind="target_not_allowed", message=message, relationship=name)
    if found.mapped:
        message = (
            f"the TargetOwaURL of {name} names {found.named_host}, where no ActiveSync is: "
            f"phones are sent to {found.host}"
        )
        return Drift(kind="host_mapped", message=message, relationship=name)
    online = _online_host(relationship, found.named_host)
    if online is not None and found.named_host not in policy.host_map:
        message = (
            f"{name} leads to Exchange Online, and its TargetOwaURL names {found.named_host}, "
            "which the certificate there does not bear, so that phones refuse it: write "
            f'"{found.named_host}" = "{online}" into redirect.hosts, or map it to itself if '
            "ActiveSync is served under that name"
        )
        return Drift(kind="vanity_host", message=message, relationship=name)
    return None


def _online_host(relationship: OrganizationRelationship, named_host: str) -> str | None:
    """The EAS host of the cloud of Exchange Online that a relationship leads to, if to one."""
    for name in (*_names(relationship), named_host):
        cloud = cloud_of(name)
        if cloud is not None:
            return cloud.eas_host
    return None


def _names(relationship: OrganizationRelationship) -> Iterator[str]:
    """The domains, and the hosts of the further addresses, which the hybrid wizard writes."""
    yield from relationship.domain_names
    for address in (
        relationship.target_application_uri,
        relationship.target_autodiscover_epr,
        relationship.target_sharing_epr,
    ):
        authority = (address or "").rpartition("://")[2].partition("/")[0]
        yield authority.partition(":")[0].lower()
