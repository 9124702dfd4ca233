"""What a directory shows, and therefore what its silence means. Pure; standard library only.

What may not be read looks absent, and what was not exported is absent: "no homeMDB" and "nobody
else with this name" count only if the directory can vouch for them. `Sight` is that knowledge. It
is read with the relationships, and consulted wherever absence or uniqueness decides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from eas_redirect.directory.names import dns_name, domain_begins, domain_dn, lies_in, plain_dn

type DirectorySource = Literal["ldap", "snapshot"]
# How much of a domain can be seen: all of it; a part of it, where a search or an export begins
# below its root; accounts of one container alone, where the export may have begun; or mail
# recipients alone, which the export may have been for.
type Portion = Literal["whole", "part", "one_container", "recipients"]


# Error types of a directory that answers, and cannot vouch for what it does not show.
NOT_VISIBLE = frozenset(
    {"mailboxes_not_visible", "aliases_not_visible", "principal_names_not_visible"}
)

_NAMES = frozenset({"samaccountname", "userprincipalname"})
# What makes a mail recipient of an account.
_MAIL = frozenset(
    {"mail", "mailnickname", "targetaddress", "proxyaddresses", "homemdb", "msexchhomeservername"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSight:
    """What can be seen of one domain: for each attribute, whether any object shows it. `nc_name`
    is its naming context, folded."""

    nc_name: str
    mailboxes: bool = False  # homeMDB or msExchHomeServerName
    aliases: bool = False  # mailNickname
    principal_names: bool = False  # userPrincipalName
    portion: Portion = "whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that cannot be seen: a stable word, the consequence, and what to do. `blind`:
    while this lasts, nobody at all can be redirected."""

    kind: str
    finding: str
    advice: str
    blind: bool = False

    @property
    def message(self) -> str:
        return f"{self.finding}: {self.advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one directory can vouch for.

    `named`: crossRef objects tell which domains the forest has, and their names. `missing`: those
    of which nothing can be seen. `trusts`: names of domains of other forests, whose users may log
    on here as well; `strangers`: those of them that directory.account_domains does not name.
    `strays`: DNs of relationships that stand below no Exchange organization and
    count for nothing. `unread`: an account or a domain was left out whose name could not be read.
    `no_mailboxes_here`: the administrator says that nobody is left.
    """

    source: DirectorySource
    domains: tuple[DomainSight, ...] = ()
    named: bool = False
    missing: tuple[str, ...] = ()
    trusts: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    unread: bool = False
    no_mailboxes_here: bool = False
    # Asked in each look-up, and so worked out once: whether "nobody has this userPrincipalName"
    # may be believed; which domains show mailboxes and aliases.
    sees_principal_names: bool = field(init=False, repr=False, compare=False)
    _showing: frozenset[str] = field(init=False, repr=False, compare=False)
    _by_name: dict[str, DomainSight] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        domains = self.domains
        settle = partial(object.__setattr__, self)
        settle("sees_principal_names", bool(domains) and all(d.principal_names for d in domains))
        settle("_showing", frozenset(d.nc_name for d in domains if d.mailboxes and d.aliases))
        settle("_by_name", {domain.nc_name: domain for domain in domains})

    def sees_everybody(self, own: str | None = None) -> bool:
        """Whether nobody else in the forest can have a name that only one object here has.
        `own`: that object's domain, if the name is one that a domain assigns only once."""
        return (
            self.named
            and not self.missing
            and not self.unread
            and bool(self.domains)
            and all(
                domain.portion == "whole" or (domain.portion != "part" and domain.nc_name == own)
                for domain in self.domains
            )
        )

    def sees_recipients(self, nc_name: str) -> bool:
        """Whether everything that an object of this domain lacks may be believed."""
        return nc_name in self._showing

    def sees_mailboxes(self, nc_name: str, *, says_remote: bool) -> bool:
        """Whether "no homeMDB" may be believed of an object in this domain. `says_remote`: the
        object itself says that it is a remote mailbox. That counts if mailboxes can be seen
        elsewhere in the forest: all mailboxes of one domain may have moved."""
        if self.no_mailboxes_here or self._of(nc_name).mailboxes:
            return True
        return says_remote and any(domain.mailboxes for domain in self.domains)

    def sees_aliases(self, nc_name: str) -> bool:
        """Whether "no mailNickname" may be believed of an object in this domain."""
        return self._of(nc_name).aliases

    def _of(self, nc_name: str) -> DomainSight:
        return self._by_name.get(nc_name) or DomainSight(nc_name=nc_name)

    def remarks(self) -> tuple[Remark, ...]:
        """What an administrator should know before a phone reveals it, the gravest first."""
        return tuple(self._remarks())

    def _remarks(self) -> Iterator[Remark]:
        unseen = [domain.nc_name for domain in self.domains if not domain.mailboxes]
        if unseen and not self.no_mailboxes_here:
            yield mailboxes_not_visible(self, unseen)
        elif not self.domains:
            yield mailboxes_not_visible(self, ())
        seen = [domain.nc_name for domain in self.domains if domain.mailboxes]
        if seen and self.no_mailboxes_here:
            yield _left(seen)
        if unseen := [domain.nc_name for domain in self.domains if not domain.aliases]:
            yield aliases_not_visible(self, unseen)
        if unseen := [domain.nc_name for domain in self.domains if not domain.principal_names]:
            yield principal_names_not_visible(self, unseen)
        if self.domains and not self.sees_everybody():
            yield not_all_accounts_visible(self)
        if self.strangers:
            yield _trusted(self.strangers)
        if self.strays:
            yield _stray(self.strays)


def mailboxes_not_visible(sight: Sight, unseen: Iterable[str]) -> Remark:
    unseen = tuple(unseen)
    blind = len(unseen) == len(sight.domains)
    consequence = (
        "nothing is known of mailboxes, and nobody is redirected"
        if blind
        else "only those are redirected whose msExchRecipientTypeDetails says that they have moved"
    )
    return Remark(
        kind="mailboxes_not_visible",
        finding=f"not one user{_of(unseen)} shows homeMDB or msExchHomeServerName, so "
        f"{consequence}",
        advice=f"{_show(sight.source, 'homeMDB and msExchHomeServerName')}; if really no mailbox "
        "is left there, set directory.no_mailboxes_here = true",
        blind=blind,
    )


def aliases_not_visible(sight: Sight, unseen: Iterable[str]) -> Remark:
    unseen = tuple(unseen)
    return Remark(
        kind="aliases_not_visible",
        finding=f"not one user{_of(unseen)} shows mailNickname, without which nobody is a mail "
        "recipient, so nobody there is redirected",
        advice=_show(sight.source, "mailNickname"),
        blind=len(unseen) == len(sight.domains),
    )


def principal_names_not_visible(sight: Sight, unseen: Iterable[str]) -> Remark:
    return Remark(
        kind="principal_names_not_visible",
        finding=f"not one user{_of(tuple(unseen))} shows userPrincipalName, so an address tells "
        "nobody who it is",
        advice=_show(sight.source, "userPrincipalName"),
    )


def not_all_accounts_visible(sight: Sight) -> Remark:
    """Why a name that one object has may also be another's."""
    parts = [domain for domain in sight.domains if domain.portion != "whole"]
    if not sight.named:
        finding = "no crossRef object tells which domains the forest has and what they are called"
        advice = {
            "snapshot": "export CN=Partitions of the configuration as well, and every domain",
            "ldap": "let the account read CN=Partitions of the configuration",
        }[sight.source]
    elif sight.missing:
        finding = f"nothing can be seen{_of(sight.missing)}"
        advice = {
            "snapshot": "export every domain",
            "ldap": "name a global catalogue (port 3269) in directory.servers",
        }[sight.source]
    elif sight.unread:
        finding = "an entry was left out whose names could not be read"
        advice = "export it again"
    elif not any(domain.portion != "recipients" for domain in parts):
        names = [domain.nc_name for domain in parts]
        finding = f"of the accounts{_of(names)} only mail recipients can be seen"
        advice = "export all accounts, those without mail too (docs/operate.md has the command)"
    else:
        parts = [domain for domain in parts if domain.portion != "recipients"]
        names = [domain.nc_name for domain in parts]
        finding = (
            f"only a part can be seen{_of(names)}"
            if any(domain.portion == "part" for domain in parts)
            else f"all accounts{_of(names)} that can be seen stand in one container, where the"
            " export may have begun"
        )
        advice = {
            "snapshot": "export each domain from its root (ldifde -d DC=…)",
            "ldap": "set directory.search_base to the root of the domain, or leave it out",
        }[sight.source]
    return Remark(
        kind="not_all_accounts_visible",
        finding=f"{finding}, so another account may have the same name, and only DOMAIN\\user and "
        "a userPrincipalName tell who somebody is",
        advice=f"{advice}; for names without a domain, set exchange.default_domain",
    )


def _trusted(trusts: tuple[str, ...]) -> Remark:
    return Remark(
        kind="trusted_domains",
        finding=f"users of {', '.join(trusts)} may log on here by a trust, and who they are here "
        "is not guessed",
        advice="if their mailboxes are here, as linked mailboxes, name their domain in "
        "directory.account_domains",
    )


def _left(seen: Iterable[str]) -> Remark:
    return Remark(
        kind="mailboxes_left",
        finding="directory.no_mailboxes_here says that nobody is left, and mailboxes can be"
        f" seen{_of(seen)}",
        advice="remove it, unless they are only Exchange's own",
    )


def _stray(dns: tuple[str, ...]) -> Remark:
    return Remark(
        kind="relationships_elsewhere",
        finding=f"{len(dns)} relationship objects stand below no CN=Federation of an Exchange "
        f"organization and do not count, first {dns[0]}",
        advice="delete what is left over of an old organization",
    )


def _of(domains: Iterable[str]) -> str:
    names = ", ".join(map(dns_name, domains))
    return f" of {names}" if names else ""


def _show(source: DirectorySource, attributes: str) -> str:
    if source == "snapshot":
        return f"export {attributes} of all users (docs/operate.md has the command)"
    return f"let the account read {attributes} of all users"


@dataclass(slots=True)
class _Collected:
    """What has been seen of one domain so far."""

    mailboxes: bool = False
    aliases: bool = False
    principal_names: bool = False
    others: bool = False  # accounts that have nothing to do with mail
    portion: Portion = "one_container"
    container: str = ""  # below the domain's root, in which all objects stood so far

    @property
    def is_settled(self) -> bool:
        """Whether no further object can show more."""
        signs = self.mailboxes and self.aliases and self.principal_names
        return signs and self.others and self.portion == "whole"

    @property
    def shown_portion(self) -> Portion:
        return self.portion if self.others or self.portion != "whole" else "recipients"


class Witness:
    """Collects a `Sight` from the objects of a file, one by one.

    ldapsearch writes into a file where its search began. ldifde does not: it was the root of a
    domain, if the root itself is in the file, or CN=Users with the built-in accounts, or more than
    one of the containers below the root. Nor does it tell its filter: every domain has accounts
    without mail (`krbtgt` for one), so where none is in the file, it was for mail recipients.
    """

    def __init__(self) -> None:
        self._domains: dict[str, _Collected] = {}  # by naming context
        self._by_ending: dict[str, _Collected] = {}  # by the end of a DN as it is written

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted(self._domains))

    def see_root(self, dn: str) -> None:
        """A domain's root object is in the file."""
        domain = self._domain(domain_dn(dn))
        domain.portion, domain.others = "whole", True

    def see(self, dn: str, attributes: Mapping[str, Sequence[str]]) -> None:
        """An account or another recipient; attributes by lower-case name."""
        lower = dn.lower()
        cut = domain_begins(lower)
        ending = lower[cut:] if cut > 0 else ""
        known = self._by_ending.get(ending)
        if known is not None and known.is_settled:
            return
        container = lower[:cut].rpartition(",")[2].strip() if ending else ""
        if container == "cn=configuration":
            return
        domain = known or self._domain(domain_dn(dn))
        if ending:
            self._by_ending[ending] = domain
        if container:
            domain.container = domain.container or container
            if domain.container != container or container == "cn=users":
                domain.portion = "whole"
        if not domain.others:
            domain.others = not _NAMES.isdisjoint(attributes) and _MAIL.isdisjoint(attributes)
        if not domain.mailboxes:
            domain.mailboxes = _some(attributes, "homemdb", "msexchhomeservername")
        if not domain.aliases:
            domain.aliases = _some(attributes, "mailnickname")
        if not domain.principal_names:
            domain.principal_names = _some(attributes, "userprincipalname")

    def _domain(self, nc_name: str) -> _Collected:
        return self._domains.setdefault(nc_name, _Collected())

    def sight(
        self,
        named: Iterable[str],
        *,
        bases: Iterable[tuple[str, str]] = (),
        siblings: Iterable[str] = (),
        trusts: tuple[str, ...] = (),
        strangers: tuple[str, ...] = (),
        strays: tuple[str, ...] = (),
        unread: bool = False,
        no_mailboxes_here: bool = False,
    ) -> Sight:
        """`named`: naming contexts that crossRef objects tell. `bases`: base and scope of each
        search, as far as the file tells. `siblings`: further domains of the forest, which a trust
        tells of."""
        known = tuple(dict.fromkeys(named))
        plain = ((plain_dn(base), scope) for base, scope in bases)
        searches = [(base, scope) for base, scope in plain if "cn=configuration" not in base]
        return Sight(
            source="snapshot",
            domains=tuple(
                DomainSight(
                    nc_name=name,
                    mailboxes=seen.mailboxes,
                    aliases=seen.aliases,
                    principal_names=seen.principal_names,
                    portion=_portion(name, searches) or seen.shown_portion,
                )
                for name, seen in sorted(self._domains.items())
            ),
            named=bool(known) and self._domains.keys() <= set(known),
            missing=tuple(
                name for name in dict.fromkeys((*known, *siblings)) if name not in self._domains
            ),
            trusts=trusts,
            strangers=strangers,
            strays=strays,
            unread=unread,
            no_mailboxes_here=no_mailboxes_here,
        )


def _portion(nc_name: str, searches: Sequence[tuple[str, str]]) -> Portion | None:
    """For a domain, by the searches that reach it or begin in it; None if the file names none."""
    if any(lies_in(nc_name, base) and scope.startswith("sub") for base, scope in searches):
        return "whole"
    return "part" if any(domain_dn(base) == nc_name for base, _ in searches) else None


def _some(attributes: Mapping[str, Sequence[str]], *names: str) -> bool:
    """Whether one of them has a value that is not empty."""
    return any(value for name in names for value in attributes.get(name, ()))
