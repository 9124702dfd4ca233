"""From a logon to exactly one account: which questions are asked, in which order. Pure.

The one place for this, above the LDAP side and the snapshot alike. Never the first of several: more
than one answer is `Ambiguous`. Imports no ldap3 and does no input or output of its own.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, assert_never

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.entries import Partition
from eas_redirect.directory.names import dns_name, domain_dn, fold, is_askable
from eas_redirect.directory.values import (
    Ambiguous,
    Found,
    LeftOutObject,
    Lookup,
    NotFound,
    Recipient,
)

type AccountAttribute = Literal["sAMAccountName", "userPrincipalName"]

_SHOWN = 5  # DNs named in an Ambiguous answer


class Forest(Protocol):
    """The small questions. A server that cannot be asked raises; nobody there is an empty answer.

    Values are compared as Active Directory compares them (without regard to case).
    """

    def partitions(self) -> Sequence[Partition]: ...

    def upn_suffixes(self) -> frozenset[str]:
        """The alternative UPN suffixes, folded."""
        ...

    def sees_all_domains(self) -> bool:
        """Whether a question without a domain reaches every domain of the forest.

        If not, only a name that is unique in the forest by itself tells who somebody is.
        """
        ...

    def accounts(
        self, attribute: AccountAttribute, value: str, domain: Partition | None
    ) -> Sequence[Recipient]:
        """Objects with this value; at least those of `domain`, or of all domains."""
        ...

    def address_holders(self, address: str) -> Sequence[Recipient]:
        """Objects of any class with `smtp:address` among their proxyAddresses."""
        ...

    def left_out(self, name: str) -> Sequence[LeftOutObject]:
        """The objects that could not be read whole and have this account name, UPN or address."""
        ...


def resolve(logon: Logon, forest: Forest, default_domain: str | None, steps: list[str]) -> Lookup:
    """The account that logs on so. `steps` receives the questions asked, in words."""
    if not (is_askable(logon.text) and is_askable(logon.user)):
        steps.append("refused: the name is empty, too long or holds control characters")
        return NotFound()
    match logon.format:
        case "down_level" if logon.domain:
            lookup = _in_domain(logon.domain, logon.user, forest, steps)
        case "upn" if logon.domain:
            lookup = _by_principal_name(logon, logon.domain, forest, steps)
        case "bare" | "down_level" | "upn":
            lookup = _bare(logon.user, forest, default_domain, steps)
        case _:
            assert_never(logon.format)
    return _unless_left_out(lookup, logon, forest, steps)


def _unless_left_out(lookup: Lookup, logon: Logon, forest: Forest, steps: list[str]) -> Lookup:
    """The same, unless an object of this name could not be read: it may be the one."""
    names = [logon.user]
    if logon.format == "upn":
        names.append(f"{logon.user}@{logon.domain}")
    left_out = [one for name in names for one in forest.left_out(name)]
    if isinstance(lookup, Found) and logon.format == "down_level":
        domain = domain_dn(lookup.recipient.dn)
        left_out = [one for one in left_out if domain_dn(one.dn) in ("", domain)]
    if not left_out or not isinstance(lookup, Found | NotFound):
        return lookup
    steps.extend(f"an entry of this name was left out: {one.dn}, {one.why}" for one in left_out)
    dns = [lookup.recipient.dn] if isinstance(lookup, Found) else []
    dns += [one.dn for one in left_out]
    return Ambiguous(dns=tuple(dns[:_SHOWN]), left_out=left_out[0].why)


def domains_of_objects(dns: Iterable[str], default_domain: str | None) -> tuple[Partition, ...]:
    """Domains as far as the objects' own DNs tell, for a directory that shows no crossRef objects.

    A domain's NetBIOS name cannot be verified then. It is taken to be the first label of the DNS
    name, as domains are made by default (at most 15 characters). Where all objects stand in one
    domain, its other labels and the configured default domain also name it.
    """
    domains = sorted({domain for domain in map(domain_dn, dns) if domain})
    if len(domains) == 1:
        names = _guessed_names(domains[0]) | set(dns_name(domains[0]).split(".")[:-1])
        if default_domain and "." not in default_domain:
            names.add(fold(default_domain))
        return (Partition(nc_name=domains[0], names=frozenset(names)),)
    return tuple(Partition(nc_name=d, names=frozenset(_guessed_names(d))) for d in domains)


def _guessed_names(domain: str) -> set[str]:
    name = dns_name(domain)
    return {name, name.partition(".")[0][:15]}


def _in_domain(name: str, user: str, forest: Forest, steps: list[str]) -> Lookup:
    if name == ".":
        steps.append(f".\\{user} is a local account of the server, not one of the directory")
        return NotFound()
    domain = _partition(name, forest, steps)
    if domain is None:
        return NotFound()
    hits = _ask(forest, "sAMAccountName", user, domain, steps)
    if not hits and "@" in user:  # devices put a UPN after the domain that they were asked for
        hits = _ask(forest, "userPrincipalName", user, domain, steps)
    return _exactly_one(hits)


def _by_principal_name(logon: Logon, suffix: str, forest: Forest, steps: list[str]) -> Lookup:
    """An explicit UPN wins over another account's implicit one; an address comes last."""
    address = f"{logon.user}@{suffix}"
    if hits := _ask(forest, "userPrincipalName", address, None, steps):
        return _exactly_one(hits)
    if hits := _by_implicit_name(logon.user, suffix, forest, steps):
        return _nobody_else(_exactly_one(hits), forest, steps)
    return _nobody_else(_by_address(address, forest, steps), forest, steps)


def _by_implicit_name(
    user: str, suffix: str, forest: Forest, steps: list[str]
) -> Sequence[Recipient]:
    domain = _find_partition(suffix, forest)
    if domain is not None:
        return _ask(forest, "sAMAccountName", user, domain, steps)
    if fold(suffix) not in forest.upn_suffixes():
        return ()
    hits = _ask(forest, "sAMAccountName", user, None, steps)
    # Whoever has a UPN of his own with this suffix does not log on with another one.
    return [hit for hit in hits if _suffix(hit.user_principal_name) != fold(suffix)]


def _by_address(address: str, forest: Forest, steps: list[str]) -> Lookup:
    holders = forest.address_holders(address)
    steps.append(f"proxyAddresses=smtp:{address}: {_count(holders)}")
    if len(holders) == 1 and not holders[0].is_account:
        steps.append(f"{holders[0].dn} is no account: nobody logs on as a contact or a group")
        return NotFound()
    return _exactly_one(holders)


def _bare(user: str, forest: Forest, default_domain: str | None, steps: list[str]) -> Lookup:
    if default_domain:
        return _in_domain(default_domain, user, forest, steps)
    hits = _ask(forest, "sAMAccountName", user, None, steps)
    return _nobody_else(_exactly_one(hits), forest, steps)


def _nobody_else(lookup: Lookup, forest: Forest, steps: list[str]) -> Lookup:
    """The same, unless the one who was found may not be the one who logged on: another domain may
    have an account of this name, or one whose UPN it is."""
    if not isinstance(lookup, Found) or forest.sees_all_domains():
        return lookup
    steps.append(
        "not all domains of the forest can be seen, and another one may have this name too: name a "
        "global catalogue (port 3269) in directory.servers, or export every domain; for names "
        "without a domain, set exchange.default_domain"
    )
    return Ambiguous(dns=(lookup.recipient.dn,))


def _ask(
    forest: Forest,
    attribute: AccountAttribute,
    value: str,
    domain: Partition | None,
    steps: list[str],
) -> Sequence[Recipient]:
    hits = [hit for hit in forest.accounts(attribute, value, domain) if hit.is_account]
    if domain is not None:  # a global catalogue also answers for the domains below this one
        hits = [hit for hit in hits if domain_dn(hit.dn) == domain.nc_name]
    place = f" in {domain.nc_name}" if domain is not None else ""
    steps.append(f"{attribute}={value}{place}: {_count(hits)}")
    return hits


def _partition(name: str, forest: Forest, steps: list[str]) -> Partition | None:
    domain = _find_partition(name, forest)
    if domain is None:
        known = ", ".join(sorted({n for p in forest.partitions() for n in p.names})) or "none"
        steps.append(f"no domain of the forest is called {name} (known: {known})")
    return domain


def _find_partition(name: str, forest: Forest) -> Partition | None:
    """The one domain of this NetBIOS or DNS name; None also when two share it."""
    wanted = fold(name)
    found = [p for p in forest.partitions() if wanted in p.names]
    return found[0] if len(found) == 1 else None


def _exactly_one(hits: Sequence[Recipient]) -> Lookup:
    match len(hits):
        case 0:
            return NotFound()
        case 1:
            return Found(recipient=hits[0])
        case _:
            return Ambiguous(dns=tuple(hit.dn for hit in hits[:_SHOWN]))


def _suffix(principal_name: str | None) -> str | None:
    return fold(principal_name.rpartition("@")[2]) if principal_name else None


def _count(hits: Sequence[Recipient]) -> str:
    return "1 object" if len(hits) == 1 else f"{len(hits)} objects"
