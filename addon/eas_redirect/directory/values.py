"""What the directory answers: recipients, relationships, outcomes. Standard library only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.sight import DirectorySource, Sight

type CacheResult = Literal["hit", "miss", "stale", "negative"]


# msExchRecipientTypeDetails of mailboxes that this forest's Exchange holds: user, linked, shared,
# legacy, room, equipment; arbitration, discovery, public folder, team, monitoring, group, linked
# room, audit log.
_LOCAL_MAILBOX_TYPES = sum(1 << bit for bit in (0, 1, 2, 3, 4, 5, 23, 29, 36, 37, 39, 40, 41, 42))
# msExchRemoteRecipientType: a mailbox made in the cloud (1) or moved there (4). Without one of them
# there is an archive in the cloud at most, or a mailbox that was taken back.
_CLOUD_MAILBOX = 1 | 4
_ACCOUNT_OFF = 0x2  # userAccountControl: ADS_UF_ACCOUNTDISABLE (MS-ADTS 2.2.16)
MOST_WATCHED = 100  # users of one question
# msExchRecipientTypeDetails of a mailbox that another organization holds: remote user, room,
# equipment, shared mailbox.
_REMOTE_TYPES = frozenset(1 << bit for bit in (31, 33, 34, 35))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One mail recipient, by its AD attributes in snake case. What may not be read is None."""

    dn: str
    user_principal_name: str | None = None
    sam_account_name: str | None = None
    mail: str | None = None
    display_name: str | None = None
    mail_nickname: str | None = None
    target_address: str | None = None
    proxy_addresses: tuple[str, ...] = ()
    home_mdb: str | None = None
    ms_exch_home_server_name: str | None = None
    ms_exch_recipient_type_details: int | None = None
    ms_exch_remote_recipient_type: int | None = None
    ms_exch_oma_admin_wireless_enable: int | None = None
    user_account_control: int | None = None
    object_guid: str | None = None  # of a server that has it, as 01234567-89ab-…
    object_sid: str | None = None  # asked for in account forests only, as S-1-5-21-…
    ms_exch_master_account_sid: str | None = None  # asked for where there are account forests
    is_account: bool = True  # False: a contact, a group or a computer, which no person logs on as

    @property
    def mailbox_sign(self) -> str | None:
        """Which attribute says that a server of this forest holds the mailbox, in words. An
        empty value counts too. `targetAddress` says nothing here: a local mailbox can forward."""
        if self.home_mdb is not None:
            return "homeMDB is set"
        if self.ms_exch_home_server_name is not None:
            return "msExchHomeServerName is set"
        kind = self.ms_exch_recipient_type_details
        if kind is not None and kind < 0:
            return "msExchRecipientTypeDetails cannot be read"
        if kind is not None and kind & _LOCAL_MAILBOX_TYPES:
            return f"msExchRecipientTypeDetails is {kind}, a mailbox of this forest"
        remote = self.ms_exch_remote_recipient_type
        if remote is not None and not remote & _CLOUD_MAILBOX:
            return f"msExchRemoteRecipientType is {remote}, without a mailbox in the cloud"
        return None

    @property
    def primary_address(self) -> str | None:
        """The address in `proxyAddresses` that mail is sent from: its type is in capitals."""
        primary = [a[5:] for a in self.proxy_addresses if a.startswith("SMTP:")]
        return primary[0] if len(primary) == 1 else None

    @property
    def has_mailbox(self) -> bool:
        return self.mailbox_sign is not None

    @property
    def is_disabled(self) -> bool:
        return bool((self.user_account_control or 0) & _ACCOUNT_OFF)

    @property
    def is_linked(self) -> bool:
        """Whether it stands for another forest's account: it names one, or nobody can log on
        with it."""
        return self.ms_exch_master_account_sid is not None or self.is_disabled

    @property
    def says_remote(self) -> bool:
        """Whether the object says by itself that its mailbox is in another organization."""
        return self.ms_exch_recipient_type_details in _REMOTE_TYPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A recipient that was found, with enough to find the same object again: its GUID if there
    is one, else its DN. A snapshot uses its names first."""

    dn: str
    object_guid: str | None = None
    sam_account_name: str | None = None
    user_principal_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutObject:
    """An object that could not be read completely. `dn` is empty if it could not be read; `why`
    says where it is and what is wrong with it."""

    dn: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryDevice:
    """A device as Exchange stores it below its user (`msExchActiveSyncDevice`), in its own
    words."""

    dn: str
    device_id: str | None = None
    device_type: str | None = None
    user_agent: str | None = None
    model: str | None = None
    os: str | None = None  # such as "iOS 12.1 16B92"
    protocol_version: str | None = None
    access: Literal["unknown", "allowed", "blocked", "quarantined", "discovery"] | None = None
    approved_alone: bool = False  # for this device, not by the organization's default or a rule


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLists:
    """The ids that an administrator allowed or blocked for one user, and the user's language."""

    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    language: str | None = None  # preferredLanguage, such as "de-DE"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationRelationship:
    """An organization relationship, with the names of its cmdlet (Get-OrganizationRelationship).
    `domains_unknown`: why it may have more domain names than could be read."""

    name: str
    domain_names: tuple[str, ...]  # lower case, A-labels
    target_owa_url: str | None = None  # as it stands in the directory, unjudged
    enabled: bool = True
    source: Literal["directory", "configuration"] = "directory"
    dn: str | None = None
    target_application_uri: str | None = None
    target_autodiscover_epr: str | None = None
    target_sharing_epr: str | None = None
    domains_unknown: str | None = None
    claimed: frozenset[str] = field(init=False, repr=False, compare=False)
    """`domain_names`, of which there may be thousands, to look one up in."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "claimed", frozenset(map(str.lower, self.domain_names)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Exactly one object has this logon.

    `by_address`: only one of its addresses matches, which Windows does not accept as a logon, so
    nothing proves that its owner logged on. `unseen`: why an attribute that it lacks may still be
    there, so that nobody can say that its mailbox has moved.
    """

    recipient: Recipient
    by_address: bool = False
    unseen: "Unavailable | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """The directory answered, and nobody has this logon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """More than one object has, or may have, this logon: `dns` names some of them. `left_out`:
    where and why one of them could not be read."""

    dns: tuple[str, ...] = ()
    left_out: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The directory could not be asked. Never cached as "no such user".

    `error_type` is a stable word (`timeout`, `connection_refused`, `invalid_credentials`,
    `certificate`, …), `message` says in one line what happened and what to do.
    """

    error_type: str
    message: str


type Lookup = Found | NotFound | Ambiguous | Unavailable
type Relationships = tuple[OrganizationRelationship, ...] | Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryAnswer:
    """The outcome of a look-up, with its source; `steps` are the questions asked, in words.
    `age_s`: for how long the directory itself may have known better (a snapshot whose file has
    since changed)."""

    lookup: Lookup
    source: DirectorySource
    cache: CacheResult | None = None
    server: str | None = None
    duration_ms: float | None = None
    steps: tuple[str, ...] = ()
    age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationshipsAnswer:
    """The relationships with where and when they were read (`age_s`: seconds since then), and what
    the directory could vouch for then."""

    relationships: Relationships
    source: DirectorySource
    server: str | None = None
    age_s: float = 0.0
    sight: Sight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedAnswer:
    """The users asked about whose mailbox appears to have moved, in the order in which they were
    asked. `age_s`: for how long the directory itself may have known better."""

    moved: tuple[Watched, ...] | Unavailable
    source: DirectorySource
    server: str | None = None
    age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One change or finding about the relationships at a refresh.

    `kind`: `added`, `removed`, `enabled`, `disabled`, `target_owa_url_changed`,
    `domain_names_changed`, `domain_claimed_twice`, `domain_names_unknown`, `none_readable`,
    `host_mapped`, a reason of the policy (`no_target_owa_url`, `relationship_contradictory`, …),
    `unavailable`, `recovered`, or the kind of a `Remark` of the directory's sight.
    """

    kind: str
    message: str
    relationship: str | None = None
    domain: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """Counters since the start and current sizes. `age_s`: of the relationships, None before
    any."""

    hits: int = 0
    misses: int = 0
    negative: int = 0
    stale: int = 0
    unavailable: int = 0
    in_flight: int = 0
    entries: int = 0
    age_s: float | None = None


class Directory(Protocol):
    """The questions. Coroutines never raise for a directory that is down: `Unavailable`."""

    source: DirectorySource

    async def recipient(self, logon: Logon) -> DirectoryAnswer: ...

    def meant_by(self, name: str) -> Lookup:
        """Whom an administrator's name means: a logon, or a DN. It blocks, so call it from
        another thread than the event loop's."""
        ...

    async def relationships(self) -> RelationshipsAnswer: ...

    async def moved(self, users: Sequence[Watched]) -> MovedAnswer:
        """Which of at most MOST_WATCHED users appear to have moved, in one question."""
        ...

    def close(self) -> None:
        """Release threads and connections. Idempotent, never blocks longer than a second."""


class Census(Protocol):
    """What the rehearsal of a wave asks beyond `Directory`. What may not be read looks absent.

    Coroutines never raise for a directory that is down: `Unavailable`.
    """

    async def everyone(self) -> tuple[Recipient, ...] | Unavailable:
        """Every account in the directory. Slow."""

    async def devices(self, user_dn: str) -> tuple[DirectoryDevice, ...] | Unavailable:
        """The devices that Exchange keeps below a user."""

    async def device_lists(self, user_dn: str) -> DeviceLists | Unavailable:
        """The user's own lists of allowed and blocked ids; empty if they may not be read."""


type DriftListener = Callable[[tuple[Drift, ...]], None]
type Findings = Callable[[tuple[OrganizationRelationship, ...]], tuple[Drift, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDomain:
    """A domain of another forest whose users have their mailboxes here, as linked mailboxes.

    `name`: its NetBIOS or DNS name, as in logons. `servers`: its own controllers, which tell the
    SID of a user; none: the user has the same account name here, as the administrator says.
    """

    name: str
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySettings:
    """What asking servers needs of the configuration: the `[directory]` and `exchange` keys
    of the same names. Seconds. The password is read again at each connect. `tells_sids`: it is an
    account forest, asked for the SIDs of its users."""

    servers: tuple[str, ...]
    start_tls: bool = False
    ca_file: str | None = None
    verify: bool = True
    bind: Literal["simple", "kerberos", "anonymous"] = "simple"
    bind_user: str | None = None
    password_file: str | None = None
    password_env: str | None = None
    search_base: str | None = None
    configuration_base: str | None = None
    connect_timeout_s: float = 2.0
    lookup_timeout_s: float = 5.0
    pool_size: int = 4
    no_mailboxes_here: bool = False
    account_domains: tuple[AccountDomain, ...] = ()
    tells_sids: bool = False
    default_domain: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """The `[cache]` keys of the same names; seconds."""

    found_s: float = 300.0
    not_found_s: float = 60.0
    relationships_s: float = 900.0
    stale_s: float = 86400.0
    max_entries: int = 100_000
