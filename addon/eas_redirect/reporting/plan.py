"""A wave rehearsed: for each user the location, the findings, and what awaits the devices.

Judges as the proxy would, through the same redirector; changes and sends nothing. Imports neither
mitmproxy, ldap3 nor DuckDB.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from eas_redirect.directory.names import dns_name, domain_dn
from eas_redirect.directory.values import Census, DirectoryDevice, Recipient, Unavailable
from eas_redirect.explain import IN_ORDER, Device, Explanation, explain_user, remarks
from eas_redirect.policy.decision import Reason
from eas_redirect.redirector import Redirector
from eas_redirect.reporting.readiness import (
    Finding,
    Readiness,
    address_findings,
    judge,
    os_version,
)
from eas_redirect.telemetry.clients import Client, identify, version

AT_ONCE = 8  # users that are asked for at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDevice:
    """A device that the directory knows, and what is to be expected of it."""

    device: DirectoryDevice
    family: str | None
    decision: str
    reason: str
    readiness: Readiness


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedUser:
    """What would become of a user's devices. `decision` and `reason` are the journal's words."""

    user: str
    decision: str
    reason: str
    detail: str
    location: str | None = None
    relationship: str | None = None
    wave: str | None = None
    findings: tuple[Finding, ...] = ()
    devices: tuple[PlannedDevice, ...] = ()
    readiness: Readiness | None = None  # where no device is known: what can be said all the same

    @property
    def in_order(self) -> bool:
        """Nothing is to be mended before the wave: the user goes, or rightly stays."""
        return self.reason in IN_ORDER

    @property
    def unreachable(self) -> bool:
        return self.reason == Reason.DIRECTORY_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Planner:
    """Rehearses users over one redirector and one directory."""

    redirector: Redirector
    census: Census
    device: Device = field(default_factory=Device)

    async def plan(
        self, users: Iterable[str], progress: Callable[[], None] = lambda: None
    ) -> tuple[PlannedUser, ...]:
        """In the order of `users`."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(user: str) -> PlannedUser:
            async with gate:
                planned = await self._user(user)
            progress()
            return planned

        return tuple(await asyncio.gather(*map(one, users)))

    async def _user(self, user: str) -> PlannedUser:
        found = await explain_user(self.redirector, user, self.device)
        if found is None:
            return PlannedUser(
                user=user,
                decision="pass",
                reason="no_logon",
                detail="No logon: write a UPN, DOMAIN\\user, an address or an account name.",
            )
        judgement = found.judgement
        known = await self._devices(found)
        ceiling = max((d.protocol_version or "" for d in known), key=version, default="") or None
        devices = [await self._device(found, device, ceiling) for device in known]
        return PlannedUser(
            user=user,
            decision=judgement.decision,
            reason=str(judgement.verdict.reason),
            detail=judgement.verdict.detail or (judgement.error_message or ""),
            location=found.location,
            relationship=judgement.verdict.relationship,
            wave=judgement.verdict.wave,
            findings=_findings(found),
            devices=tuple(devices),
            readiness=None if devices or not found.location else _nobody_seen(found.location),
        )

    async def _devices(self, found: Explanation) -> tuple[DirectoryDevice, ...]:
        if found.recipient is None:
            return ()
        known = await self.census.devices(found.recipient.dn)
        return () if isinstance(known, Unavailable) else known

    async def _device(
        self, owner: Explanation, known: DirectoryDevice, ceiling: str | None
    ) -> PlannedDevice:
        """Judged by its own type and version, which waves and the minimum may depend on."""
        asked = replace(
            self.device,
            device_type=known.device_type,
            protocol_version=known.protocol_version or self.device.protocol_version,
        )
        found = await explain_user(self.redirector, owner.logon.text, asked)
        assert found is not None  # noqa: S101 - it was a logon a moment ago
        client = _client(known)
        return PlannedDevice(
            device=known,
            family=client.family.name if client else None,
            decision=found.judgement.decision,
            reason=str(found.judgement.verdict.reason),
            readiness=judge(
                client,
                host=_host(found.location or owner.location),
                protocol_version=known.protocol_version,
                ceiling=ceiling,
            ),
        )


async def everyone_moved(census: Census) -> tuple[str, ...] | Unavailable:
    """The logons of all whose mailbox is elsewhere by the directory's own word."""
    found = await census.everyone()
    if isinstance(found, Unavailable):
        return found
    moved = (one for one in found if one.target_address and not one.has_mailbox)
    return tuple(sorted(filter(None, map(_logon, moved)), key=str.lower))


def _logon(recipient: Recipient) -> str | None:
    """A name that is this account's alone: without its domain another may have it too."""
    account = recipient.sam_account_name
    domain = dns_name(domain_dn(recipient.dn))
    down_level = f"{domain}\\{account}" if account and domain else None
    return recipient.user_principal_name or down_level or recipient.mail or account


def _client(known: DirectoryDevice) -> Client | None:
    """By User-Agent and type; the system's version as the device told Exchange, if not there."""
    client = identify(known.user_agent, known.device_type)
    if client is None or client.os_version is not None:
        return client
    return replace(client, os_version=os_version(known.os))


def _findings(found: Explanation) -> tuple[Finding, ...]:
    recipient = found.recipient
    if recipient is None:
        return ()
    told = tuple(Finding(code="account", message=remark) for remark in remarks(recipient))
    if found.location is None:
        return told
    addresses = address_findings(
        recipient.user_principal_name, recipient.proxy_addresses, recipient.mail
    )
    return (*addresses, *told)


def _nobody_seen(location: str) -> Readiness:
    return replace(
        judge(None, host=_host(location)),
        rule="No device of this user is known to the directory, or none may be read.",
    )


def _host(location: str | None) -> str | None:
    return urlsplit(location).hostname if location else None
