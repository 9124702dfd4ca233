"""From a logon to exactly one account: which questions are asked, in which order. Pure.

The one place for this, above the LDAP side and the snapshot alike. Never the first of several: more
than one answer is `Ambiguous`, and so is the only one where others may not be seen (`sight.py`).
Imports no ldap3 and does no input or output of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, Protocol, assert_never

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.entries import Partition
from eas_redirect.directory.names import dns_name, domain_dn, fold, is_askable
from eas_redirect.directory.sight import (
    Remark,
    Sight,
    aliases_not_visible,
    mailboxes_not_visible,
    not_all_accounts_visible,
    principal_names_not_visible,
)
from eas_redirect.directory.values import (
    AccountDomain,
    Ambiguous,
    Found,
    LeftOutObject,
    Lookup,
    NotFound,
    Recipient,
    Unavailable,
)

type AccountAttribute = Literal["sAMAccountName", "userPrincipalName"]

_SHOWN = 5  # DNs named in an Ambiguous answer


class Forest(Protocol):
    """The small questions. A server that cannot be asked raises; "nobody" is an empty answer.
    Values are compared as Active Directory compares them (without regard to case)."""

    @property
    def leaves_out(self) -> bool:
        """Whether `left_out` has anything to say about any name."""
        ...

    @property
    def shows_all(self) -> bool:
        """Whether `doubt_about` has nothing to say about any of its objects."""
        ...

    def partitions(self) -> Sequence[Partition]: ...

    def upn_suffixes(self) -> frozenset[str]:
        """The alternative UPN suffixes, folded."""
        ...

    def sight(self) -> Sight:
        """What the answers can vouch for."""
        ...

    def accounts(
        self, attribute: AccountAttribute, value: str, domain: Partition | None
    ) -> Sequence[Recipient]:
        """Objects with this value; at least those of `domain`, or of all domains."""
        ...

    def address_holders(self, address: str) -> Sequence[Recipient]:
        """Objects of any class with `smtp:address` among their proxyAddresses."""
        ...

    def linked_to(self, sid: str) -> Sequence[Recipient]:
        """Objects that stand for another forest's account with this SID."""
        ...

    def left_out(self, name: str) -> Sequence[LeftOutObject]:
        """Objects that could not be read completely and have this account name, UPN or address."""
        ...


def resolve(
    logon: Logon,
    forest: Forest,
    default_domain: str | None,
    steps: list[str],
    account_domains: Sequence[AccountDomain] = (),
    account: Lookup | None = None,
) -> Lookup:
    """The account with this logon.

    `steps` receives the questions asked, in words. `account`: who it is in the account forest of
    the domain that the logon names, if that was asked.
    """
    if not (is_askable(logon.text) and is_askable(logon.user)):
        steps.append("refused: the name is empty, too long or holds control characters")
        return NotFound()
    if (named := _named(logon, account_domains, forest)) is not None:
        lookup = _linked(logon, named, account, forest, steps)
    else:
        lookup = _of_this_forest(logon, forest, default_domain, steps)
    return _doubted(_unless_left_out(lookup, logon, forest, steps), forest, steps)


def _of_this_forest(
    logon: Logon, forest: Forest, default_domain: str | None, steps: list[str]
) -> Lookup:
    match logon.format:
        case "upn" if logon.domain:
            return _by_principal_name(logon, logon.domain, forest, steps)
        case "down_level" if logon.domain:
            return _in_domain(logon.domain, logon.user, forest, steps)
        case "bare" | "down_level" | "upn":
            return _bare(logon.user, forest, default_domain, steps)
        case _:
            assert_never(logon.format)


def _unless_left_out(lookup: Lookup, logon: Logon, forest: Forest, steps: list[str]) -> Lookup:
    """The same, unless an object of this name could not be read: it may be the right one."""
    if not forest.leaves_out:
        return lookup
    names = [logon.user]
    if logon.format == "upn":
        names.append(f"{logon.user}@{logon.domain}")
    left_out = [one for name in names for one in forest.left_out(name)]
    if not left_out:
        return lookup
    if isinstance(lookup, Found) and logon.format == "down_level":
        domain = domain_dn(lookup.recipient.dn)
        left_out = [one for one in left_out if domain_dn(one.dn) in ("", domain)]
    if not left_out or not isinstance(lookup, Found | NotFound):
        return lookup
    steps.extend(f"an entry of this name was left out: {one.dn}, {one.why}" for one in left_out)
    dns = [lookup.recipient.dn] if isinstance(lookup, Found) else []
    dns += [one.dn for one in left_out]
    return Ambiguous(dns=tuple(dns[:_SHOWN]), left_out=left_out[0].why)


def _named(
    logon: Logon, account_domains: Sequence[AccountDomain], forest: Forest
) -> AccountDomain | None:
    """The other forest's domain that a logon names. A name of this forest never belongs to
    another, and a UPN that somebody has here belongs to that user."""
    named = account_domain(logon, account_domains) if logon.domain else None
    if named is None or _find_partition(named.name, forest) is not None:
        return None
    if logon.format == "upn" and forest.accounts(
        "userPrincipalName", f"{logon.user}@{logon.domain}", None
    ):
        return None
    return named


def account_domain(logon: Logon, domains: Sequence[AccountDomain]) -> AccountDomain | None:
    """The one in `directory.account_domains` whose name the logon uses, if any."""
    wanted = fold(logon.domain or "")
    return next((domain for domain in domains if fold(domain.name) == wanted), None)


def _linked(
    logon: Logon,
    named: AccountDomain,
    account: Lookup | None,
    forest: Forest,
    steps: list[str],
) -> Lookup:
    """Who stands here for another forest's account: by its SID, or by the same name."""
    steps.append(f"{named.name} is one of directory.account_domains")
    if not named.servers:
        hits = _ask(forest, "sAMAccountName", logon.user, None, steps)
        return _nobody_else(_only_linked(hits, steps), forest, steps)
    match account:
        case Found(recipient=recipient, by_address=False) if recipient.object_sid is not None:
            holders = [one for one in forest.linked_to(recipient.object_sid) if one.is_account]
            steps.append(
                f"there it is {recipient.dn}; msExchMasterAccountSid={recipient.object_sid}:"
                f" {_count(holders)}"
            )
            return _only_linked(holders, steps)
        case Found(by_address=False):
            message = f"{named.name} shows no objectSid: let the account read it there"
            return Unavailable(error_type="sid_not_visible", message=message)
        case Found() | NotFound():
            steps.append("the account domain knows nobody by this logon")
            return NotFound()
        case Ambiguous() | Unavailable():
            return account
        case None:
            message = (
                f"a snapshot does not ask the servers of {named.name}: ask servers for this forest "
                'too, or write "same_name" in directory.account_domains'
            )
            return Unavailable(error_type="account_domain_not_asked", message=message)
        case _:
            assert_never(account)


def _only_linked(hits: Sequence[Recipient], steps: list[str]) -> Lookup:
    lookup = _exactly_one(hits)
    if isinstance(lookup, Found) and not lookup.recipient.is_linked:
        steps.append(
            f"{lookup.recipient.dn} is no linked mailbox: it has no msExchMasterAccountSid, and "
            "somebody can log on with it"
        )
        return NotFound()
    return lookup


def domains_of_objects(dns: Iterable[str]) -> tuple[Partition, ...]:
    """Domains as far as the objects' own DNs show them, for a directory without crossRef
    objects. Then only the whole DNS name identifies a domain. Its NetBIOS name may be any word,
    and what looks like it may be the name of another domain in the forest."""
    domains = sorted({domain for domain in map(domain_dn, dns) if domain})
    return tuple(Partition(nc_name=d, names=frozenset({dns_name(d)})) for d in domains)


def _doubted(lookup: Lookup, forest: Forest, steps: list[str]) -> Lookup:
    """The same, with the reason why an absent attribute says nothing about the object found."""
    if forest.shows_all:
        return lookup
    if not isinstance(lookup, Found) or not lookup.recipient.target_address:
        return lookup  # nothing follows from what is absent
    doubt = doubt_about(lookup.recipient, forest.sight())
    if doubt is None:
        return lookup
    steps.append(doubt.message)
    return replace(lookup, unseen=_unavailable(doubt))


def doubt_about(one: Recipient, sight: Sight) -> Remark | None:
    """Why an attribute that it lacks may be there anyway."""
    if one.has_mailbox:
        return None
    domain = domain_dn(one.dn)
    if sight.sees_recipients(domain):
        return None
    if not sight.sees_mailboxes(domain, says_remote=one.says_remote):
        return mailboxes_not_visible(sight, (domain,))
    if not one.mail_nickname and not sight.sees_aliases(domain):
        return aliases_not_visible(sight, (domain,))
    return None


def _unavailable(remark: Remark) -> Unavailable:
    return Unavailable(error_type=remark.kind, message=remark.message)


def _in_domain(name: str, user: str, forest: Forest, steps: list[str]) -> Lookup:
    if name == ".":
        steps.append(f".\\{user} is a local account of the server, not one of the directory")
        return NotFound()
    domain = _partition(name, forest, steps)
    if domain is None:
        return NotFound()
    hits = _ask(forest, "sAMAccountName", user, domain, steps)
    if "@" in user:  # devices put a UPN after the domain that they were asked for
        known = {hit.dn for hit in hits}
        named = _ask(forest, "userPrincipalName", user, domain, steps)
        hits = [*hits, *(hit for hit in named if hit.dn not in known)]
    return _exactly_one(hits)


def _by_principal_name(logon: Logon, suffix: str, forest: Forest, steps: list[str]) -> Lookup:
    """An explicit UPN wins over another account's implicit one; an address comes last."""
    address = f"{logon.user}@{suffix}"
    if hits := _ask(forest, "userPrincipalName", address, None, steps):
        return _exactly_one(hits)
    if hits := _by_implicit_name(logon.user, suffix, forest, steps):
        return _nobody_else(_exactly_one(hits), forest, steps, principal_names=True)
    lookup = _by_address(address, forest, steps)
    if isinstance(lookup, Found) and _may_be_elsewhere(suffix, forest):
        steps.append(f"{suffix} is not a domain of this forest, and users of others log on here")
        return NotFound()
    return _nobody_else(lookup, forest, steps, principal_names=True)


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
    if len(holders) == 1:
        return Found(recipient=holders[0], by_address=True)
    return _exactly_one(holders)


def _may_be_elsewhere(suffix: str, forest: Forest) -> bool:
    """Whether a UPN with this suffix may belong to another forest that this one trusts. A trust
    passes on no name that this forest has itself (MS-ADTS 6.1.6.9.3.2)."""
    if not forest.sight().trusts:
        return False
    return _find_partition(suffix, forest) is None and fold(suffix) not in forest.upn_suffixes()


def _bare(user: str, forest: Forest, default_domain: str | None, steps: list[str]) -> Lookup:
    if default_domain:
        return _in_domain(default_domain, user, forest, steps)
    hits = _ask(forest, "sAMAccountName", user, None, steps)
    return _nobody_else(_exactly_one(hits), forest, steps)


def _nobody_else(
    lookup: Lookup, forest: Forest, steps: list[str], *, principal_names: bool = False
) -> Lookup:
    """The same, unless the account found may not be the one that logged on: another account may
    have this name, or it may be another's UPN (`principal_names`)."""
    if not isinstance(lookup, Found):
        return lookup
    sight = forest.sight()
    if principal_names and not sight.sees_principal_names:
        unseen = (domain.nc_name for domain in sight.domains if not domain.principal_names)
        doubt = principal_names_not_visible(sight, unseen)
        steps.append(doubt.message)
        return _unavailable(doubt)
    # An account name is unique in its own domain, wherever in it an export began.
    if not sight.sees_everybody() and (
        principal_names or not sight.sees_everybody(domain_dn(lookup.recipient.dn))
    ):
        steps.append(not_all_accounts_visible(sight).message)
        return Ambiguous(dns=(lookup.recipient.dn,))
    return lookup


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
        if not forest.sight().named:
            steps.append(not_all_accounts_visible(forest.sight()).message)
    return domain


def _find_partition(name: str, forest: Forest) -> Partition | None:
    """The one domain with this NetBIOS or DNS name; None also if two share it."""
    wanted, found = fold(name), None
    for domain in forest.partitions():
        if wanted in domain.names:
            if found is not None:
                return None
            found = domain
    return found


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
