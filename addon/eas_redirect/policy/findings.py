"""What is odd about a reading of the relationships, as the decision sees them. Pure."""

from collections.abc import Iterable

from eas_redirect.directory.values import Drift, OrganizationRelationship
from eas_redirect.policy.target import leads_to
from eas_redirect.policy.verdict import Pass, Policy


def findings(
    relationships: Iterable[OrganizationRelationship], policy: Policy
) -> tuple[Drift, ...]:
    """One finding at most for each enabled relationship: its `kind` is the reason that users of it
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
