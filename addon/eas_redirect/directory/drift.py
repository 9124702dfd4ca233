"""What changed in the relationships between two readings, as values. Pure."""

from collections.abc import Iterable

from eas_redirect.directory.sight import Sight
from eas_redirect.directory.values import Drift, OrganizationRelationship

type Copy = tuple[OrganizationRelationship, ...]


def changes(before: Copy, after: Copy) -> tuple[Drift, ...]:
    """Relationships added, removed, enabled, disabled, or with another TargetOwaURL."""
    old, new = _by_identity(before), _by_identity(after)
    found = [
        *(_drift("removed", old[key], "is gone") for key in old.keys() - new.keys()),
        *(_drift("added", new[key], "is new") for key in new.keys() - old.keys()),
    ]
    for key in old.keys() & new.keys():
        found.extend(_differences(old[key], new[key]))
    return tuple(sorted(found, key=lambda drift: (drift.relationship or "", drift.kind)))


def standing(relationships: Copy) -> tuple[Drift, ...]:
    """What is wrong with one reading by itself."""
    if not relationships:
        return (
            Drift(
                kind="none_readable",
                message="no organization relationship can be read: nobody will be redirected "
                "unless redirect.relationships names one; grant the account read access to "
                "CN=Federation of the Exchange organization",
            ),
        )
    return (*_claimed_twice(relationships), *_of_unknown_domains(relationships))


def _of_unknown_domains(relationships: Copy) -> Iterable[Drift]:
    for one in relationships:
        if one.domains_unknown is not None and one.enabled:
            yield Drift(
                kind="domain_names_unknown",
                message=f"the relationship {one.name} may have further domains: nobody of a domain "
                f"that no other relationship names will be redirected ({one.domains_unknown})",
                relationship=one.name,
            )


def unseen(sight: Sight | None) -> tuple[Drift, ...]:
    """What the directory cannot vouch for."""
    remarks = sight.remarks() if sight is not None else ()
    return tuple(Drift(kind=remark.kind, message=remark.message) for remark in remarks)


def _claimed_twice(relationships: Copy) -> Iterable[Drift]:
    owners: dict[str, list[str]] = {}
    for relationship in relationships:
        for domain in relationship.domain_names if relationship.enabled else ():
            owners.setdefault(domain, []).append(relationship.name)
    for domain, names in sorted(owners.items()):
        if len(names) > 1:
            yield Drift(
                kind="domain_claimed_twice",
                message=f"{domain} belongs to {len(names)} enabled relationships "
                f"({', '.join(sorted(names))}): nobody of it will be redirected",
                relationship=min(names),
                domain=domain,
            )


def _differences(old: OrganizationRelationship, new: OrganizationRelationship) -> Iterable[Drift]:
    if old.enabled != new.enabled:
        word = "enabled" if new.enabled else "disabled"
        yield _drift(word, new, f"was {word}")
    if old.target_owa_url != new.target_owa_url:
        yield _drift(
            "target_owa_url_changed",
            new,
            f"has another TargetOwaURL: {new.target_owa_url or 'none'} "
            f"instead of {old.target_owa_url or 'none'}",
        )
    if set(old.domain_names) != set(new.domain_names):
        yield _drift(
            "domain_names_changed",
            new,
            f"has other domain names: {', '.join(new.domain_names) or 'none'} "
            f"instead of {', '.join(old.domain_names) or 'none'}",
        )


def _drift(kind: str, relationship: OrganizationRelationship, what: str) -> Drift:
    return Drift(
        kind=kind,
        message=f"the relationship {relationship.name} {what}",
        relationship=relationship.name,
    )


def _by_identity(relationships: Copy) -> dict[str, OrganizationRelationship]:
    return {relationship.dn or relationship.name: relationship for relationship in relationships}
