"""A user's devices: those that the directory keeps below the account, and those that journals saw.

Pure. A logon in a journal is only a name: whose it is, the directory says.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from eas_redirect.directory.values import DirectoryDevice, Recipient
from eas_redirect.report.report_values import Device
from eas_redirect.telemetry.clients import version


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
    """What journals know of devices, by the logons that stand in them."""

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
        """Those that may be this account's, by a name or an address; others may bear them too."""
        addresses = (address.partition(":")[2] for address in recipient.proxy_addresses)
        names = (
            *(recipient.user_principal_name, recipient.mail, recipient.sam_account_name),
            *addresses,
        )
        accounts = {_account_name(name) for name in names if name}
        return tuple(sorted(name for a in accounts for name in self._logons.get(a, ())))


def merged(stored: Sequence[DirectoryDevice], seen: Iterable[Device]) -> tuple[KnownDevice, ...]:
    """Each device once. What a device said of itself lately is newer than what Exchange kept."""
    latest: dict[str, Device] = {}
    for device in sorted(seen, key=lambda device: device.last_seen_s):
        latest[(device.device_id or "").lower()] = device
    both = (_known(one, latest.pop((one.device_id or "").lower(), None)) for one in stored)
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
