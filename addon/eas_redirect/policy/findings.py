"""What is odd about a reading of the relationships, seen through the host map. Pure."""

from collections.abc import Iterable

from eas_redirect.directory.values import Drift, OrganizationRelationship
from eas_redirect.policy.endpoint import Refused, endpoint, is_allowed
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
    if found.named_host not in policy.host_map:
        message = (
            f"the TargetOwaURL of {name} names {found.named_host}, a vanity name unless ActiveSync "
            "is served there: phones refuse a server whose certificate does not bear the name; "
            "if it is right, say so with an entry of its own in redirect.hosts"
        )
        return Drift(kind="vanity_host", message=message, relationship=name)
    return None
