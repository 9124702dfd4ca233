"""The values of a decision: verdicts, the policy, the steps. Pure.

`decision.py` gives them out again; other rooms import them from there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from eas_redirect.activesync.authorization import Logon
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.directory.values import OrganizationRelationship
from eas_redirect.policy.exchange_online import DEFAULT_HOST_MAP
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.waves import Wave

type Mode = Literal["observe", "enforce"]

_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The answer may mean a moved mailbox: ask the directory about this logon. `fresh`: the
    evidence is weak, so only a fresh answer may lead to a redirect."""

    exchange: Exchange
    logon: Logon
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Exchange's own answer goes through; `detail` is one plain sentence for a person."""

    reason: Reason
    detail: str = ""
    target_domain: str | None = None
    relationship: str | None = None
    wave: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Tell the device its `location` (`https://host/Microsoft-Server-ActiveSync`): by a 451, to
    Autodiscover by Settings."""

    location: str
    target_domain: str
    relationship: str
    reason: Literal[Reason.MAILBOX_MOVED] = Reason.MAILBOX_MOVED
    detail: str = ""
    wave: str | None = None


type Verdict = Redirect | Pass


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryPolicy:
    """Which phones Autodiscover tells where a mailbox went, and on what evidence. `listed`:
    beginnings of User-Agents, compared without regard to case. `weak`: whether an answer that
    names no new address counts."""

    phones: Literal["off", "listed", "all"] = "off"
    listed: tuple[str, ...] = ()
    weak: bool = False

    @property
    def weighs_weak(self) -> bool:
        """Whether a weak answer can matter."""
        return self.weak and self.phones != "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a TargetOwaURL leads: `host` after the host map, `named_host` as the URL has it."""

    location: str
    host: str
    named_host: str

    @property
    def mapped(self) -> bool:
        return self.host != self.named_host


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The configuration as the decision sees it."""

    own_names: frozenset[str] = frozenset()  # further names of this proxy, lower case A-labels
    servers: frozenset[str] = frozenset()  # those judged where nothing else says whose a server is
    min_protocol_version: str = "14.0"
    weak_statuses: frozenset[int] = frozenset({403})
    host_map: Mapping[str, str] = DEFAULT_HOST_MAP  # TargetOwaURL host → EAS host, A-labels
    allowed_hosts: tuple[str, ...] | None = None  # globs; None: any that a relationship names
    relationships: tuple[OrganizationRelationship, ...] = ()  # configured; win over the directory's
    wave: Wave = field(default_factory=Wave)
    discovery: DiscoveryPolicy = field(default_factory=DiscoveryPolicy)
    least_version: tuple[int, int] = field(init=False, repr=False)  # `min_protocol_version` as read
    led: dict[OrganizationRelationship, Endpoint | Pass] = field(
        init=False, repr=False, compare=False
    )
    """Where relationships lead under this policy, as far as that was asked: `target.leads_to`."""

    def __post_init__(self) -> None:
        least = protocol_version(self.min_protocol_version) or (14, 0)
        object.__setattr__(self, "least_version", least)
        object.__setattr__(self, "led", {})


def protocol_version(text: str | None) -> tuple[int, int] | None:
    """`14.1` → (14, 1); None if it is not a version (MS-ASHTTP 2.2.1.1.2.4)."""
    parts = _VERSION.fullmatch(text or "")
    return (int(parts[1]), int(parts[2])) if parts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a decision, for `explain`: the question, the finding, and whether it was good."""

    question: str
    finding: str
    ok: bool
    reason: Reason | None = None  # the reason of the pass that ends here


class Trail:
    """Collects the steps of a decision for whoever wants to see them. Mostly nobody does: then
    there is no trail, and no step is put into words."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps

    def good(self, question: str, finding: str) -> None:
        self._steps.append(Step(question=question, finding=finding, ok=True))

    def stop(self, question: str, verdict: Pass) -> None:
        finding, reason = verdict.detail, verdict.reason
        self._steps.append(Step(question=question, finding=finding, ok=False, reason=reason))


def ended(trail: Trail | None, question: str, verdict: Pass) -> Pass:
    """Note why the decision ends here, and return the verdict."""
    if trail:
        trail.stop(question, verdict)
    return verdict
