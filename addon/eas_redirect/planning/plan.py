"""A wave rehearsed: for each user the location, the findings, and what awaits the devices.

Judges as the proxy would, through the same judge; changes and sends nothing. Imports neither
mitmproxy, ldap3 nor DuckDB.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from eas_redirect.activesync.request import caseless
from eas_redirect.directory.names import dns_name, domain_dn
from eas_redirect.directory.values import (
    Census,
    DeviceLists,
    DirectoryDevice,
    Recipient,
    Unavailable,
)
from eas_redirect.judging.explanation import (
    AskedDevice,
    Explanation,
    explain_user,
    recipient_remarks,
)
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.reasons import Reason, in_order
from eas_redirect.policy.target import leads_to
from eas_redirect.policy.verdict import Endpoint
from eas_redirect.report.readiness import (
    Finding,
    Readiness,
    address_findings,
    logon_findings,
    os_version,
    readiness_of,
)
from eas_redirect.report.report_values import Device
from eas_redirect.telemetry.clients import Client, client_of, version

# A user's devices: those that the directory keeps below the account, and those that journals saw. A
# logon in a journal is only a name; the directory says whose it is.


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDevice:
    """One device. `stored`: the directory knows it; `seen`: as the journals describe it."""

    device: DirectoryDevice
    stored: bool = True
    seen: Device | None = None

    @property
    def known_from(self) -> str:
        if self.seen is None:
            return "directory"
        return "both" if self.stored else "journal"


@dataclass(slots=True)
class SeenDevices:
    """What journals know about devices, by the logons in them."""

    by_logon: dict[str, list[Device]] = field(default_factory=dict)
    ceiling: str | None = None  # the highest version that anybody spoke to the old server
    _logons: dict[str, set[str]] = field(default_factory=dict)  # account name → logons

    @classmethod
    def of(cls, devices: Iterable[Device]) -> "SeenDevices":
        found = cls()
        for device in devices:
            if device.user and device.device_id and not device.machine:
                found.by_logon.setdefault(device.user, []).append(device)
                names = found._logons.setdefault(_account_name(device.user), set())
                names.add(device.user)
        spoken = (d.protocol_version for some in found.by_logon.values() for d in some)
        found.ceiling = max(filter(None, spoken), key=version, default=None)
        return found

    def possible_logons(self, recipient: Recipient) -> tuple[str, ...]:
        """Logons that may be this account's, by a name or an address; others may have them too."""
        addresses = (address.partition(":")[2] for address in recipient.proxy_addresses)
        names = (
            *(recipient.user_principal_name, recipient.mail, recipient.sam_account_name),
            *addresses,
        )
        accounts = {_account_name(name) for name in names if name}
        return tuple(sorted(name for a in accounts for name in self._logons.get(a, ())))


def merged(stored: Sequence[DirectoryDevice], seen: Iterable[Device]) -> tuple[KnownDevice, ...]:
    """Each device once. What a device said lately is newer than what Exchange stored."""
    latest: dict[str, Device] = {}
    for device in sorted(seen, key=lambda device: device.last_seen_s):
        latest[caseless(device.device_id or "")] = device
    both = (_known(one, latest.pop(caseless(one.device_id or ""), None)) for one in stored)
    known = tuple(both)
    unstored = (
        replace(_known(DirectoryDevice(dn="", device_id=one.device_id), one), stored=False)
        for one in latest.values()
    )
    return (*known, *unstored)


def _known(stored: DirectoryDevice, seen: Device | None) -> KnownDevice:
    if seen is None:
        return KnownDevice(device=stored)
    device = replace(
        stored,
        device_type=seen.device_type or stored.device_type,
        user_agent=seen.user_agent or stored.user_agent,
        protocol_version=seen.protocol_version or stored.protocol_version,
    )
    return KnownDevice(device=device, seen=seen)


def _account_name(logon: str) -> str:
    """`anna` of anna@contoso.example, CONTOSO\\anna and anna."""
    return logon.rpartition("\\")[2].partition("@")[0].lower()


BEFORE_THE_MOVE = frozenset({str(Reason.RECIPIENT_HAS_MAILBOX), str(Reason.NOT_IN_WAVE)})
"""Reasons of those who stay for now, as they should."""

AT_ONCE = 8  # users that are asked for at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDevice:
    """A device that the directory or a journal knows, and what to expect of it."""

    known: KnownDevice
    family: str | None
    decision: str
    reason: str
    readiness: Readiness
    added_again: str | None = None  # see PlannedUser


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedUser:
    """What would become of a user's devices. `decision` and `reason` are the journal's words."""

    user: str
    decision: str
    reason: str
    detail: str
    account: str | None = None  # the DN that the directory found
    location: str | None = None
    relationship: str | None = None
    wave: str | None = None
    findings: tuple[Finding, ...] = ()
    devices: tuple[PlannedDevice, ...] = ()
    out_of_reach: bool = False  # the directory could not be asked
    readiness: Readiness | None = None  # what can be said even without a known device
    address: str | None = None  # the primary one
    user_principal_name: str | None = None
    lists: DeviceLists = field(default_factory=DeviceLists)
    # Where Autodiscover tells phones: the reason of what it answers when the account is added again
    # (`mailbox_moved`: the new server). Of a device by its user agent, else by one that is listed.
    added_again: str | None = None

    @property
    def in_order(self) -> bool:
        """Nothing has to be corrected before the wave: the user goes, or rightly stays."""
        return in_order(self.reason)


@dataclass(frozen=True, slots=True)
class Planner:
    """Rehearses users over one judge and one directory."""

    judge: Judge
    census: Census
    device: AskedDevice = field(default_factory=AskedDevice)
    seen: SeenDevices = field(default_factory=SeenDevices)

    async def plan(
        self, users: Iterable[str], progress: Callable[[], None] = lambda: None
    ) -> tuple[PlannedUser, ...]:
        """In the order of `users`; an account that several of them name appears once."""
        gate = asyncio.Semaphore(AT_ONCE)

        expected = await self._expected_host()

        async def one(user: str) -> PlannedUser:
            async with gate:
                planned = await self._user(user, expected)
            progress()
            return planned

        planned = await asyncio.gather(*map(one, users))
        once = {user.account or user.user: user for user in reversed(planned)}
        return tuple(user for user in planned if once[user.account or user.user] is user)

    async def _expected_host(self) -> str | None:
        """Where mailboxes that are still here will go: to where every relationship leads."""
        known = (await self.judge.directory.relationships()).relationships
        if isinstance(known, Unavailable):
            return None
        policy = self.judge.policy
        every = (*known, *policy.relationships)
        ends = (leads_to(one, policy) for one in every if one.enabled)
        hosts = {end.host for end in ends if isinstance(end, Endpoint)}
        return hosts.pop() if len(hosts) == 1 else None

    async def _user(self, user: str, expected: str | None) -> PlannedUser:
        found = await explain_user(self.judge, user, self.device)
        if found is None:
            return PlannedUser(
                user=user,
                decision="pass",
                reason="no_logon",
                detail="No logon: write a UPN, DOMAIN\\user, an address or an account name.",
            )
        judgement, recipient = found.judgement, found.recipient
        known = await self._devices(found)
        spoken = (*(one.device.protocol_version for one in known), self.seen.ceiling)
        ceiling = max(filter(None, spoken), key=version, default=None)
        still_here = str(judgement.verdict.reason) in BEFORE_THE_MOVE
        host = _host(found.location) or (expected if still_here else None)
        devices = [await self._device(found, device, ceiling, host) for device in known]
        return PlannedUser(
            user=user,
            decision=judgement.decision,
            reason=str(judgement.verdict.reason),
            detail=judgement.verdict.detail or (judgement.error_message or ""),
            account=found.recipient.dn.lower() if found.recipient else None,
            location=found.location,
            relationship=judgement.verdict.relationship,
            wave=judgement.verdict.wave,
            out_of_reach=judgement.out_of_reach,
            findings=(*_findings(found), *_logon_findings(found, known)),
            devices=tuple(devices),
            readiness=None if devices or not found.location else _nobody_seen(found.location),
            added_again=_added_again(found),
            address=recipient.primary_address or recipient.mail if recipient else None,
            user_principal_name=recipient.user_principal_name if recipient else None,
            lists=await self._lists(recipient),
        )

    async def _devices(self, found: Explanation) -> tuple[KnownDevice, ...]:
        if found.recipient is None:
            return merged((), self.seen.by_logon.get(found.logon.text, ()))
        stored = await self.census.devices(found.recipient.dn)
        seen = [
            device
            for logon in self.seen.possible_logons(found.recipient)
            if await self._is_of(logon, found.recipient)
            for device in self.seen.by_logon[logon]
        ]
        return merged(() if isinstance(stored, Unavailable) else stored, seen)

    async def _lists(self, recipient: Recipient | None) -> DeviceLists:
        found = await self.census.device_lists(recipient.dn) if recipient else DeviceLists()
        return DeviceLists() if isinstance(found, Unavailable) else found

    async def _is_of(self, logon: str, recipient: Recipient) -> bool:
        """Whether the directory finds that account under that logon."""
        found = await explain_user(self.judge, logon, self.device)
        same = found.recipient if found is not None else None
        return same is not None and same.dn.lower() == recipient.dn.lower()

    async def _device(
        self, owner: Explanation, known: KnownDevice, ceiling: str | None, host: str | None
    ) -> PlannedDevice:
        """Judged by its own type and version, on which waves and the minimum may depend; `host`:
        where its owner goes, or will go."""
        device = known.device
        asked = replace(
            self.device,
            device_type=device.device_type,
            protocol_version=device.protocol_version or self.device.protocol_version,
            user_agent=device.user_agent or "",
        )
        found = await explain_user(self.judge, owner.logon.text, asked)
        assert found is not None  # noqa: S101 - it was a logon a moment ago
        client = _client(device)
        return PlannedDevice(
            known=known,
            family=client.family.name if client else None,
            decision=found.judgement.decision,
            reason=str(found.judgement.verdict.reason),
            added_again=_added_again(found),
            readiness=readiness_of(
                client,
                host=_host(found.location) or host,
                protocol_version=device.protocol_version,
                ceiling=ceiling,
                auth_scheme=known.seen.auth_scheme if known.seen else None,
            ),
        )


async def everyone_moved(census: Census) -> tuple[str, ...] | Unavailable:
    """The logons of all users whose mailbox is elsewhere, according to the directory."""
    found = await census.everyone()
    if isinstance(found, Unavailable):
        return found
    moved = (one for one in found if one.target_address and not one.has_mailbox)
    return tuple(sorted(filter(None, map(_logon, moved)), key=str.lower))


def _logon(recipient: Recipient) -> str | None:
    """A name that only this account has: without its domain, another may have it too."""
    account = recipient.sam_account_name
    domain = dns_name(domain_dn(recipient.dn))
    down_level = f"{domain}\\{account}" if account and domain else None
    return recipient.user_principal_name or down_level or recipient.mail or account


def _client(known: DirectoryDevice) -> Client | None:
    """By User-Agent and type; the system's version from Exchange's records if not there."""
    client = client_of(known.user_agent, known.device_type)
    if client is None or client.os_version is not None:
        return client
    return replace(client, os_version=os_version(known.os))


def _added_again(found: Explanation) -> str | None:
    return None if found.added_again is None else str(found.added_again.verdict.reason)


def _findings(found: Explanation) -> tuple[Finding, ...]:
    recipient = found.recipient
    if recipient is None:
        return ()
    told = tuple(Finding(code="account", message=remark) for remark in recipient_remarks(recipient))
    if found.location is None:
        return told
    addresses = address_findings(
        recipient.user_principal_name, recipient.proxy_addresses, recipient.mail
    )
    return (*addresses, *told)


def _logon_findings(found: Explanation, known: Iterable[KnownDevice]) -> tuple[Finding, ...]:
    """How the devices log on, if a journal says so: each finding once."""
    forms = (one.seen.logon_format for one in known if one.seen)
    told = (finding for form in forms for finding in logon_findings(form, _host(found.location)))
    return tuple(dict.fromkeys(told))


def _nobody_seen(location: str) -> Readiness:
    return replace(
        readiness_of(None, host=_host(location)),
        rule="No device of this user is known to the directory or a journal, or none may be read.",
    )


def _host(location: str | None) -> str | None:
    return urlsplit(location).hostname if location else None
