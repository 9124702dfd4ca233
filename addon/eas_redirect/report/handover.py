"""Who arrived: the journals' devices joined with the target's rows, a verdict for each. Pure.

A device is a user and an id. A row is never joined by the device type, and where it might belong to
two users it is nobody's.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from eas_redirect.report.groups import group_by, totals
from eas_redirect.report.old_server import SILENCE_S
from eas_redirect.report.report_values import (
    Arrival,
    Device,
    Handover,
    HandoverCount,
    Report,
    Target,
)
from eas_redirect.report.target_export import TargetRow, TargetRows, folded_id
from eas_redirect.report.words import counted, moment
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.ledger import LedgerState

CLOCKS_S = 300.0  # by which two servers' clocks may differ
CHECKED_S = 900.0  # for which the target may look at a new device before it decides

TITLES = {
    Handover.HELD: "quarantined / blocked",
    Handover.STILL_HERE: "still here",
    Handover.ASKED_TO_SIGN_IN: "asked to sign in",
    Handover.UNKNOWN: "unknown",
    Handover.RE_ADDED: "re-added",
    Handover.ELSEWHERE: "elsewhere already",
    Handover.CONFIRMED: "confirmed",
}
NEXT_STEPS = {
    Handover.HELD: "Allow the device at the target: Set-CASMailbox -Identity USER"
    " -ActiveSyncAllowedDeviceIDs @{Add='ID'}, or plan --allow-script for a whole wave.",
    Handover.STILL_HERE: "Look why it was not redirected, or came back: eas-redirect explain USER.",
    Handover.ASKED_TO_SIGN_IN: "Ask the user to open the mail app and to sign in. The account must"
    " not be deleted: that may give the phone a new id.",
    Handover.UNKNOWN: "See the sentence of each device: ask the user, or export again later.",
    Handover.RE_ADDED: "Allow the new id where devices are quarantined, and remove the old"
    " partnership.",
    Handover.ELSEWHERE: "Nothing.",
    Handover.CONFIRMED: "Nothing.",
}
_PSEUDONYM = re.compile(r"[0-9a-f]{16}")
_HELD = {"quarantined", "blocked"}
_LOOKED_AT = "devicediscovery"
_SILENT = frozenset({LedgerState.QUIET, LedgerState.REDIRECTED, LedgerState.CONFIRMED})
_RANK = {"user": 0, "directory": 1, "display_name": 2, "id": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the directory says of a user: names to log on with and names for people, folded."""

    logons: frozenset[str]
    shown: frozenset[str]


type Accounts = Mapping[str, Account]
"""By the user as the journals write it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The target's row of a device: all of its rows as one."""

    row: TargetRow
    joined_by: str


@dataclass(slots=True)
class Join:
    """Finds the rows of a device, and of a user."""

    target: TargetRows
    devices: Sequence[Device]
    accounts: Accounts = field(default_factory=dict)
    redaction: Redaction = field(default_factory=Redaction)
    _by_id: dict[str, list[TargetRow]] = field(default_factory=dict)
    _by_name: dict[str, list[TargetRow]] = field(default_factory=dict)
    _users_of: dict[str, set[int]] = field(default_factory=dict)  # device id → users
    _ids_of: dict[int, set[str]] = field(default_factory=dict)  # user → device ids
    _names_of: dict[int, set[str]] = field(default_factory=dict)  # user → folded names

    def __post_init__(self) -> None:
        for row in self.target.rows:
            for key in self._spellings(folded_id(row.device_id)):
                self._by_id.setdefault(key, []).append(row)
            for name in (*row.users, *row.shown_names):
                for key in self._spellings(name.lower()):
                    self._by_name.setdefault(key, []).append(row)
        for device in self.devices:
            key = folded_id(device.device_id or "")
            self._users_of.setdefault(key, set()).add(device.user_key)
            self._ids_of.setdefault(device.user_key, set()).add(key)
            names = self._names_of.setdefault(device.user_key, set())
            names.add(device.user.lower())
            if account := self.accounts.get(device.user):
                names.update(account.logons, account.shown)

    def _spellings(self, text: str) -> tuple[str, ...]:
        """As journals may have written it: as it is, or hashed."""
        if self.redaction.users != "hash":
            return (text,)
        return (text, self.redaction.name(text) or text)

    def of_device(self, device: Device) -> _Known | None:
        """Notes the names of the user that the rows tell, which `of_user` goes by."""
        key = folded_id(device.device_id or "")
        rows = self._by_id.get(key, []) if key else []
        if not rows:
            return None
        alone = len(self._users_of[key]) == 1
        joined = [(row, how) for row in rows if (how := self._how(device, row)) is not None]
        if not joined and alone:
            joined = self._by_id_alone(device, rows)
        elif joined and alone:
            joined += [(row, "id") for row in rows if not (row.users or row.shown_names)]
        if not joined:
            return None
        found = [row for row, _ in joined]
        names = self._names_of[device.user_key]
        names.update(name.lower() for row in found for name in row.users)
        how = min((how for _, how in joined), key=_RANK.__getitem__)
        return _Known(_merged(found), how)

    def of_user(self, device: Device) -> list[TargetRow]:
        """All rows of that user, of whatever device."""
        names = self._names_of[device.user_key]
        found = {id(row): row for name in names for row in self._by_name.get(name, ())}
        return list(found.values())

    def has_id(self, device_id: str) -> bool:
        """Whether any row has it, whoever's."""
        return folded_id(device_id) in self._by_id

    def is_new(self, device: Device, row: TargetRow) -> bool:
        known = self._ids_of[device.user_key]
        return known.isdisjoint(self._spellings(folded_id(row.device_id)))

    def shown_id(self, row: TargetRow) -> str:
        """As the journals would write it."""
        if self.redaction.users == "hash":
            return self.redaction.name(row.device_id) or ""
        return row.device_id

    def _how(self, device: Device, row: TargetRow) -> str | None:
        user = device.user.lower()
        if any(user in self._spellings(name.lower()) for name in row.users):
            return "user"
        account = self.accounts.get(device.user)
        if account and not account.logons.isdisjoint(name.lower() for name in row.users):
            return "directory"
        if account and not account.shown.isdisjoint(name.lower() for name in row.shown_names):
            key = folded_id(device.device_id or "")
            return "display_name" if len(self._users_of[key]) == 1 else None
        return None

    def _by_id_alone(
        self, device: Device, rows: Sequence[TargetRow]
    ) -> list[tuple[TargetRow, str]]:
        """Where one user has the id on both sides, and the names do not speak against it."""
        users = {name.lower() for row in rows for name in row.users[:1]}
        shown = {name.lower() for row in rows for name in row.shown_names[:1] if not row.users}
        against = any(not self._may_be(device, name) for name in users)
        return [] if len(users) > 1 or len(shown) > 1 or against else [(r, "id") for r in rows]

    def _may_be(self, device: Device, name: str) -> bool:
        """Two forms of one name, as far as can be told: anna@contoso.example and CONTOSO\\anna."""
        return self.redaction.users == "hash" or local_part(name) == local_part(device.user)


def local_part(name: str) -> str:
    return name.rpartition("\\")[2].partition("@")[0].lower()


def names_in_doubt(devices: Iterable[Device], target: TargetRows) -> tuple[str, ...]:
    """The users whom only a directory can tell apart, or recognise: those whose name no row has."""
    named = {name.lower() for row in target.rows for name in row.users}
    users = {device.user for device in devices if device.device_id and device.user}
    return tuple(sorted(user for user in users if user.lower() not in named))


def unjoinable(devices: Sequence[Device], redaction: Redaction) -> str | None:
    """Why no row can be joined with these journals, and what to do."""
    ids = [device.device_id for device in devices if device.device_id]
    if not ids:
        return (
            'These journals name no device (journal.users = "drop", or nobody called): nothing can'
            ' be joined with the target\'s lists. Read journals with users = "hash" or "clear".'
        )
    names = [_PSEUDONYM.fullmatch(device.user.rpartition("\\")[2]) for device in devices]
    if redaction.users != "hash" and all(names) and all(map(_PSEUDONYM.fullmatch, ids)):
        return (
            "Users and devices of these journals are hashed. Name the configuration that they were"
            " written with (--config): its journal.hash_key_file is the key to join them."
        )
    return None


def with_target(
    report: Report,
    target: TargetRows,
    files: int,
    accounts: Accounts | None = None,
    redaction: Redaction | None = None,
) -> Report:
    """The report with a verdict for each device of a person."""
    join = Join(target, report.devices, accounts or {}, redaction or Redaction())
    known = [join.of_device(device) for device in report.devices]
    new = _new_ids(join, report.devices, known)
    devices = tuple(
        device if device.machine else _with(device, _judge(join, device, row, new))
        for device, row in zip(report.devices, known, strict=True)
    )
    covered = {d.user_key for d in report.devices if not d.machine and join.of_user(d)}
    covered |= {d.user_key for d, row in zip(report.devices, known, strict=True) if row}
    matched = sum(row is not None for row in known)
    return replace(
        report,
        devices=devices,
        totals=totals(
            devices,
            exchanges=report.totals.exchanges,
            redirects=report.totals.redirects,
            would_redirects=report.totals.would_redirects,
        ),
        by_wave=group_by(devices, lambda device: device.wave),
        by_device_type=group_by(devices, lambda device: device.device_type),
        by_family=group_by(devices, lambda device: device.family),
        target=Target(
            files=files,
            rows=len(target.rows),
            left_out=dict(target.left_out),
            newest_s=target.newest_s,
            matched=matched,
            users_covered=len(covered),
            counts=_counts(devices),
            notes=tuple(_notes(target, matched, len(covered))),
        ),
    )


def _with(device: Device, arrival: Arrival) -> Device:
    confirmed = arrival.handover is Handover.CONFIRMED
    state = LedgerState.CONFIRMED if confirmed else device.state
    return replace(device, arrival=arrival, state=state)


def _counts(devices: Sequence[Device]) -> tuple[HandoverCount, ...]:
    found = Counter(device.arrival.handover for device in devices if device.arrival)
    users: dict[Handover, set[int]] = {handover: set() for handover in Handover}
    for device in devices:
        if device.arrival:
            users[device.arrival.handover].add(device.user_key)
    return tuple(
        HandoverCount(handover=handover, devices=found[handover], users=len(users[handover]))
        for handover in Handover
    )


def _notes(target: TargetRows, matched: int, covered: int) -> Iterable[str]:
    yield from target.notes
    for why, rows in sorted(target.left_out.items()):
        yield f"{counted(rows, 'row')} of the target left out: {why}."
    if not matched and not covered:
        yield (
            "The target's files name no user and no device of these journals: they are the wrong"
            " files, of another tenant or wave, or hashed journals need their key (--config)."
        )
    if target.newest_s is not None:
        yield f"The target's files reach to {moment(target.newest_s)} UTC: later is not yet known."


def _new_ids(
    join: Join, devices: Sequence[Device], known: Sequence[_Known | None]
) -> dict[int, TargetRow]:
    """For each device that an account added again has replaced: the new row, by `id(device)`. Only
    where there is one new id for each old one."""
    found: dict[int, TargetRow] = {}
    lost: dict[tuple[int, str], list[Device]] = {}
    for device, row in zip(devices, known, strict=True):
        if _has_gone(device, row) and device.device_type:
            lost.setdefault((device.user_key, device.device_type.lower()), []).append(device)
    for (_, kind), old in lost.items():
        told = [device.redirected_s or 0.0 for device in old]
        new = {
            folded_id(row.device_id): row
            for row in join.of_user(old[0])
            if (row.device_type or "").lower() == kind
            and row.first_s is not None
            and row.first_s > max(told) - CLOCKS_S
            and join.is_new(old[0], row)
        }
        if len(old) == len(new) == 1:
            found[id(old[0])] = next(iter(new.values()))
    return found


def _has_gone(device: Device, known: _Known | None) -> bool:
    """Told to go, and silent on both sides since."""
    if device.redirected_s is None or device.state not in _SILENT:
        return False
    row = known.row if known else None
    return row is None or (row.success_s or 0.0) <= device.redirected_s


def _judge(
    join: Join, device: Device, known: _Known | None, new: Mapping[int, TargetRow]
) -> Arrival:
    row = known.row if known else None
    by = known.joined_by if known else None
    newest = join.target.newest_s

    def verdict(handover: Handover, why: str) -> Arrival:
        success = row.success_s if row else None
        return Arrival(handover=handover, why=why, joined_by=by, success_s=success)

    if row is not None and (held := _held(row, device, newest)) is not None:
        return verdict(*held)
    if device.redirected_s is None:
        return verdict(*_never_told(device, row))
    told = device.redirected_s
    success = row.success_s if row else None
    back = device.returned_s
    arrived = success is not None and success > told
    later = back is not None and back > (success or 0.0) + CLOCKS_S
    if later if arrived else back is not None and device.state not in _SILENT:
        return verdict(Handover.STILL_HERE, f"It called here again at {moment(back)} UTC.")
    if row is not None and arrived:
        words = f"It synced at the target at {moment(success)} UTC, after the redirect."
        if row.state is None and row.from_log:
            words += " A log does not show whether a device is quarantined."
        return verdict(Handover.CONFIRMED, words)
    if device.state is LedgerState.CONFIRMED:
        return verdict(Handover.CONFIRMED, "The proxy itself saw it call its target.")
    if (again := new.get(id(device))) is not None:
        return _re_added(join, again, told)
    return verdict(*_silent(join, device, row, told))


def _held(row: TargetRow, device: Device, newest: float | None) -> tuple[Handover, str] | None:
    because = f" ({row.reason})" if row.reason else ""
    if row.state in _HELD:
        return Handover.HELD, f"The target has it {row.state}{because}."
    if row.state == _LOOKED_AT or (row.reason or "").lower() == "upgrade":
        since = max(row.first_s or 0.0, device.redirected_s or 0.0)
        if newest is None or newest - since <= CHECKED_S:
            return (
                Handover.UNKNOWN,
                "It is being checked at the target. Export again in a quarter of an hour.",
            )
        if row.state == _LOOKED_AT:
            return (
                Handover.HELD,
                f"The target has been looking at it for over 15 minutes{because}.",
            )
    return None


def _never_told(device: Device, row: TargetRow | None) -> tuple[Handover, str]:
    called = f"It was never redirected, and called here at {moment(device.last_seen_s)} UTC"
    if row is None or row.refused_only:
        if device.silent_s >= SILENCE_S:
            return Handover.UNKNOWN, f"{called} for the last time. The target does not know it."
        return Handover.STILL_HERE, f"{called}."
    if row.success_s is not None and device.last_seen_s > row.success_s + CLOCKS_S:
        return Handover.STILL_HERE, f"{called}, later than the target saw it."
    return Handover.ELSEWHERE, "The target knows it, and this proxy never redirected it."


def _re_added(join: Join, row: TargetRow, told: float) -> Arrival:
    state = row.state or "of unknown state"
    works = row.state in (None, "allowed") and (row.success_s or 0.0) > told
    words = "synced there" if works else f"is {state}, and has not synced there as far as is known"
    return Arrival(
        handover=Handover.RE_ADDED,
        why=f"The user's account was added again: a new id of the same type {words}.",
        joined_by="user",
        success_s=row.success_s if works else None,
        new_device_id=join.shown_id(row),
    )


def _silent(join: Join, device: Device, row: TargetRow | None, told: float) -> tuple[Handover, str]:
    """Nothing later than the redirect, here or there."""
    newest = join.target.newest_s
    if newest is None or newest <= told + CLOCKS_S:
        return (
            Handover.UNKNOWN,
            "The target's files end before the redirect, or at about its time: not yet known.",
        )
    if device.state not in _SILENT:
        return Handover.STILL_HERE, f"It called here at {moment(device.last_seen_s)} UTC."
    if row is None:
        return _without_row(join, device)
    if row.refused_only:
        return Handover.ASKED_TO_SIGN_IN, "The target answered 401 to everything that it sent."
    if not row.tells_success:
        return (
            Handover.UNKNOWN,
            "The file has no LastSuccessSync: export Get-MobileDeviceStatistics.",
        )
    if row.success_s is not None and row.success_s > told - CLOCKS_S:
        return (
            Handover.UNKNOWN,
            "Its last sync at the target lies too close to the redirect to tell: export again.",
        )
    if row.attempt_s is not None and row.attempt_s > told + CLOCKS_S:
        return Handover.UNKNOWN, "It reaches the target, and no sync has succeeded there since."
    return Handover.ASKED_TO_SIGN_IN, "It has been silent since the redirect, here and there."


def _without_row(join: Join, device: Device) -> tuple[Handover, str]:
    if device.device_id is None:
        return Handover.UNKNOWN, "It never named its device id."
    if join.has_id(device.device_id):
        return (
            Handover.UNKNOWN,
            "Its id stands at the target under another user, or under several.",
        )
    if join.target.exports and join.of_user(device):
        return (
            Handover.ASKED_TO_SIGN_IN,
            "The target lists other devices of this user, and not this one.",
        )
    return Handover.UNKNOWN, "The target's files name neither the device nor its user."


def _merged(rows: Sequence[TargetRow]) -> TargetRow:
    """Several rows of one device as one; the state is that of the row with the latest time."""

    def latest(row: TargetRow) -> float:
        return max(row.attempt_s or 0.0, row.success_s or 0.0, row.first_s or 0.0)

    stated = max((row for row in rows if row.state), key=latest, default=None)
    return TargetRow(
        device_id=rows[0].device_id,
        device_type=next((row.device_type for row in rows if row.device_type), None),
        users=tuple(dict.fromkeys(name for row in rows for name in row.users)),
        shown_names=tuple(dict.fromkeys(name for row in rows for name in row.shown_names)),
        state=stated.state if stated else None,
        reason=stated.reason if stated else None,
        first_s=min((row.first_s for row in rows if row.first_s is not None), default=None),
        attempt_s=max((row.attempt_s for row in rows if row.attempt_s is not None), default=None),
        success_s=max((row.success_s for row in rows if row.success_s is not None), default=None),
        tells_success=any(row.tells_success for row in rows),
        refused_only=all(row.refused_only for row in rows),
        from_log=all(row.from_log for row in rows),
    )
