"""What a report says, as values: page, JSON and CSV are made from these alone. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum

from eas_redirect.report.readiness import Finding, Readiness
from eas_redirect.telemetry.ledger import LedgerState

STATES = tuple(LedgerState)
FORMAT = 1  # of the JSON
DAY_MS = 86_400_000
SHOWN_DAYS = 400  # of a plot: what is older is an old journal, or was written by a wrong clock


class Handover(StrEnum):
    """What the target's own list or log says about a device. Stable: the words appear in JSON
    and CSV. The first ones need a person most."""

    HELD = "quarantined_or_blocked"
    STILL_HERE = "still_here"
    ASKED_TO_SIGN_IN = "asked_to_sign_in"
    UNKNOWN = "unknown"
    RE_ADDED = "re_added"
    ELSEWHERE = "elsewhere_already"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One device's verdict. `joined_by`: how the target's row was matched with this device:
    `user` and id, the user through the `directory`, `display_name`, or the `id` alone."""

    handover: Handover
    why: str  # a sentence
    joined_by: str | None = None
    success_s: float | None = None  # the target's last successful sync
    allowed: bool = (
        False  # by the target's word: a log, or a list without that column, says nothing
    )
    new_device_id: str | None = None  # of a phone whose account was added again


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverCount:
    """`users`: how many have at least one such device."""

    handover: Handover
    devices: int
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the target's files say overall. `newest_s`: the latest time in them."""

    files: int
    rows: int
    left_out: dict[str, int]
    newest_s: float | None
    matched: int  # devices of the journals that have a row
    users_covered: int  # users of the journals of whom a file has a row
    strange_files: tuple[str, ...]  # that name nobody of the journals
    counts: tuple[HandoverCount, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device of one user. Times are Unix seconds, lengths seconds."""

    user: str  # as a person would write it: anna@contoso.example, CONTOSO\\anna
    user_key: int  # whose devices these are, however the name is written
    account_id: str | None = None  # `user.id`, of those for whom the directory was asked
    device_id: str | None
    device_type: str | None
    family: str | None  # eas.client_family
    user_agent: str | None
    state: LedgerState
    first_seen_s: float
    last_seen_s: float
    silent_s: float  # up to the end of the journals
    usual_interval_s: float | None
    calls: int
    redirects: int
    returns: int
    redirected_s: float | None = None  # the first redirect
    returned_s: float | None = None  # the last comeback
    accepted: bool = False  # Exchange has let it sync under this logon
    location: str | None = None  # where to, or where it would be sent
    wave: str | None = None
    protocol_version: str | None = None
    auth_scheme: str | None = None
    logon_format: str | None = None
    last_reason: str | None = None
    answer: str | None = None  # the last reason that is more than a question for a logon
    cause: str | None = None  # the likely one, of a stuck or returned device
    readiness: Readiness | None = None
    findings: tuple[Finding, ...] = ()
    machine: bool = False
    arrival: Arrival | None = None  # where the target's list was given


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Devices that have something in common, and their users. `redirected` is how many were ever
    redirected. A user has followed if every redirected device is quiet or confirmed, and is
    stuck if one is stuck."""

    name: str
    devices: int
    redirected: int
    followed: int  # quiet or confirmed
    confirmed: int
    returned: int
    stuck: int
    users: int
    users_redirected: int
    users_followed: int
    users_returned: int
    users_stuck: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Users and devices by what became of them; each redirected device has exactly one state."""

    exchanges: int = 0
    users: int = 0
    devices: int = 0
    redirects: int = 0
    would_redirects: int = 0
    users_redirected: int = 0
    users_followed: int = 0  # every redirected device of theirs is quiet or confirmed
    users_returned: int = 0  # at least one came back, and none is stuck
    users_stuck: int = 0  # at least one stuck device
    devices_redirected: int = 0
    devices_confirmed: int = 0
    states: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatesAt:
    """How many devices were in each state at a moment, and users by their worst device."""

    at_s: float
    states: dict[str, int]
    users: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One UTC day. `reasons` holds the most common reasons; the rest is under `OTHER_REASONS`."""

    start_s: float
    exchanges: int
    arriving: int  # devices that called the old server
    reasons: dict[str, int]


OTHER_REASONS = "(other reasons)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonRow:
    reason: str
    exchanges: int
    users: int
    devices: int


class Silence(StrEnum):
    """Why an exchange got no answer from Exchange: an `error.type` of the journal; or that
    Exchange itself answered 503, which is a different matter. Stable: the words appear in JSON."""

    UPSTREAM_FAILED = "upstream_failed"
    CLIENT_LEFT = "client_left"
    PROXY_STOPPED = "proxy_stopped"
    REQUEST_REFUSED = "request_refused"
    NOT_SAID = "not_said"
    OWN_503 = "exchange_503"


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceRow:
    """Exchanges without an answer, by cause. `devices`, `users`: those that named themselves."""

    silence: Silence
    exchanges: int
    devices: int
    users: int
    last_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousCaller:
    """Exchanges without a name that Exchange let in, for one address and client."""

    address: str
    user_agent: str
    exchanges: int
    last_s: float
    reason: str  # the commonest


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A domain whose users cannot be redirected, and why."""

    reason: str
    target_domain: str
    users: int
    devices: int
    exchanges: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAgain:
    """A user and a client that asked Autodiscover, and the latest decision about them."""

    user: str
    user_agent: str
    decision: str
    reason: str
    questions: int
    last_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryFigures:
    """Accounts that were added again: who asked Autodiscover about a mailbox that has moved, or was
    kept from an answer. `told`, `would_be_told`: users; `shown`: the latest of them."""

    questions: int = 0
    told: int = 0
    would_be_told: int = 0
    shown: tuple[AskedAgain, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitsOfWave:
    """Devices of one wave whose wait was ended. `p50_s`, `p99_s`, `longest_s`: seconds from the
    moment when the directory first said that the user has moved to the device's 451, for those
    that got one."""

    wave: str
    devices: int
    redirected: int
    p50_s: float | None = None
    p99_s: float | None = None
    longest_s: float | None = None

    @property
    def is_of_few(self) -> bool:
        """Whether so few were redirected that the longest time says more than a percentile."""
        return self.redirected < 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A device whose wait was ended and that Exchange still serves. `ended`: how often."""

    user: str
    device_id: str
    ended: int
    last_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitFigures:
    """Ended waits by wave, and devices that have had no 451 since: `unanswered` in all, `shown`
    the latest. `would_end`: devices whose wait would end in enforce mode."""

    waves: tuple[WaitsOfWave, ...] = ()
    would_end: int = 0
    unanswered: int = 0
    shown: tuple[Unanswered, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Directory look-ups, in milliseconds. `buckets`: upper bound → how many; None: above all."""

    lookups: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    buckets: tuple[tuple[float | None, int], ...] = ()
    by_cache: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StillCalling:
    """Why some devices still call: a ledger state, or the reason why they were not redirected."""

    why: str
    devices: int
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Who still calls the old server: people's devices that called in the last `window_s`."""

    window_s: float
    devices: int = 0
    users: int = 0
    nameless: int = 0  # exchanges in that time that belong to no device
    first_s: float | None = None  # of their last calls
    last_s: float | None = None
    earliest_s: float | None = None  # when it can go if nobody calls any more
    can_go: bool = False
    verdict: str = ""
    still_calling: tuple[StillCalling, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What was read. See `store.Lines`."""

    files: int
    bytes: int
    lines: int
    exchanges: int
    events: int
    torn: int
    foreign: int
    no_phones: int  # asked for ActiveSync's path, but are no phone's
    unread_files: int  # from which no device could be read
    untimed: int
    future: int
    lost_s: float | None = None  # when the last line was that stands for lost ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything. `notes` are plain sentences about the journals; `now_s` when it was made."""

    now_s: float
    input: Input
    notes: tuple[str, ...]
    since_s: float | None
    until_s: float | None
    totals: Totals
    by_wave: tuple[Group, ...]
    by_device_type: tuple[Group, ...]
    by_family: tuple[Group, ...]
    states_over_time: tuple[StatesAt, ...]
    days: tuple[Day, ...]
    reasons: tuple[ReasonRow, ...]
    more_reasons: int  # distinct reasons beyond those
    obstacles: tuple[Obstacle, ...]
    silence: tuple[SilenceRow, ...]  # exchanges without an answer
    anonymous: tuple[AnonymousCaller, ...]  # those with the most exchanges
    more_anonymous: int  # callers beyond those
    discoveries: DiscoveryFigures
    waits: WaitFigures
    latency: Latency
    arrivals: Arrivals
    readiness: dict[str, int]
    devices: tuple[Device, ...]  # the most urgent first
    target: Target | None = None  # where the target's list was given
