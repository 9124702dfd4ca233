"""Who arrived: the journals' devices joined with the target's rows, a verdict for each. Pure.

A device is a user and an id. A row is never matched by the device type, and if it might belong to
two users, it belongs to nobody.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from eas_redirect.report.groups import group_by, readiness, totals, users_by_state
from eas_redirect.report.old_server import SILENCE_S, still_calling
from eas_redirect.report.report_values import (
    STATES,
    Arrival,
    Device,
    Handover,
    HandoverCount,
    Report,
    StatesAt,
    Target,
    Totals,
)
from eas_redirect.report.target_export import TargetRow, TargetRows, folded_id
from eas_redirect.report.words import counted, moment
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.ledger import LedgerState, quiet_after

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
_HELD = frozenset({"quarantined", "blocked"})
_SAID_WAVES = 5
_LOOKED_AT = "devicediscovery"
_SILENT = frozenset({LedgerState.QUIET, LedgerState.REDIRECTED, LedgerState.CONFIRMED})
_RANK = {"user": 0, "directory": 1, "display_name": 2, "id": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the directory says about a user: names to log on with and display names, folded, and
    the account's id as clear journals write it (`user.id`)."""

    logons: frozenset[str]
    shown: frozenset[str]
    account_id: str


type Accounts = Mapping[str, Account]
"""By the name that was asked for: a user of the journals, or of the target's rows."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Everything that the target's rows say about one device."""

    row: TargetRow
    joined_by: str
    files: frozenset[str]


class Join:
    """Finds the rows of a device and of a user."""

    def __init__(
        self,
        target: TargetRows,
        devices: Sequence[Device],
        accounts: Accounts | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        self.target = target
        self.redaction = redaction or Redaction()
        self._accounts = accounts or {}
        self._hashed = self.redaction.users == "hash"
        self._by_id: dict[str, list[TargetRow]] = {}
        # By a user's name as journals may write it, an account's id, or the place of its object.
        self._by_name: dict[str, list[TargetRow]] = {}
        self._users_of: dict[str, set[int]] = {}  # device id → users
        self._ids_of: dict[int, set[str]] = {}  # user → device ids
        self._names_of: dict[int, set[str]] = {}  # user → the same
        self._keys: dict[str, tuple[str, ...]] = {}  # a row's name, folded → how it may be written
        for row in target.rows:
            for key in self._spellings(folded_id(row.device_id)):
                self._by_id.setdefault(key, []).append(row)
            for name in row.users:
                for key in self._keys_of(name):
                    self._by_name.setdefault(key, []).append(row)
            if row.owner:
                self._by_name.setdefault(row.owner, []).append(row)
        for device in devices:
            key = folded_id(device.device_id or "")
            self._users_of.setdefault(key, set()).add(device.user_key)
            self._ids_of.setdefault(device.user_key, set()).add(key)
            self._names_of.setdefault(device.user_key, set()).update(self._own_names(device))

    def _spellings(self, text: str) -> tuple[str, ...]:
        """As journals may have written it: in clear, or hashed."""
        return (text, self.redaction.name(text) or text) if self._hashed else (text,)

    def _keys_of(self, name: str) -> tuple[str, ...]:
        """A row's name as journals may have written it, and its account's id."""
        folded = name.lower()
        if (known := self._keys.get(folded)) is None:
            account = self._accounts.get(name) if self._hashed else None
            ids = self._spellings(account.account_id) if account else ()
            known = self._keys[folded] = (*self._spellings(folded), *ids)
        return known

    def _own_names(self, device: Device) -> Iterator[str]:
        yield device.user.lower()
        if device.account_id:
            yield device.account_id
        if account := self._accounts.get(device.user):
            yield from account.logons

    def of_device(self, device: Device) -> _Known | None:
        """Also remembers the user's names in these rows, which `of_user` uses."""
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
        names.update(row.owner for row in found if row.owner)
        return _Known(
            _merged(found),
            min((how for _, how in joined), key=_RANK.__getitem__),
            frozenset(row.file.name for row in found),
        )

    def of_user(self, device: Device) -> list[TargetRow]:
        """All rows of that user, whatever the device. A display name is not enough: somebody
        else may have the same."""
        names = self._names_of[device.user_key]
        found = {id(row): row for name in names for row in self._by_name.get(name, ())}
        return list(found.values())

    def reach(self, device: Device) -> float | None:
        """Up to when the files know about that user, or about anybody if none names the user."""
        rows = self.of_user(device)
        files = [row.file for row in rows] or self.target.files
        return max((file.newest_s for file in files if file.newest_s is not None), default=None)

    def has_id(self, device_id: str) -> bool:
        """Whether any row has it, of whatever user."""
        return folded_id(device_id) in self._by_id

    def is_new(self, device: Device, row: TargetRow) -> bool:
        known = self._ids_of[device.user_key]
        return known.isdisjoint(self._spellings(folded_id(row.device_id)))

    def shown_id(self, row: TargetRow) -> str:
        """As the journals would write it."""
        return self._spellings(row.device_id)[-1]

    def _how(self, device: Device, row: TargetRow) -> str | None:
        user = device.user.lower()
        for name in row.users:
            keys = self._keys_of(name)
            if user in keys:
                return "user"
            if device.account_id is not None and device.account_id in keys:
                return "directory"
        account = self._accounts.get(device.user)
        if account is None:
            return None
        if any(name.lower() in account.logons for name in row.users):
            return "directory"
        if any(name.lower() in account.shown for name in row.shown_names):
            key = folded_id(device.device_id or "")
            return "display_name" if len(self._users_of[key]) == 1 else None
        return None

    def _by_id_alone(
        self, device: Device, rows: Sequence[TargetRow]
    ) -> list[tuple[TargetRow, str]]:
        """Only if one user has the id on both sides, and the names do not contradict."""
        users = {name.lower() for row in rows for name in row.users[:1]}
        shown = {name.lower() for row in rows for name in row.shown_names[:1] if not row.users}
        against = any(not self._may_be(device, name) for name in users)
        return [] if len(users) > 1 or len(shown) > 1 or against else [(r, "id") for r in rows]

    def _may_be(self, device: Device, name: str) -> bool:
        """Two forms of one name, as far as can be told: anna@contoso.example and CONTOSO\\anna. Of
        a hashed name only the directory can tell, by the account."""
        if self._hashed:
            known = self._accounts.get(name)
            return not (known and device.account_id)
        return local_part(name) == local_part(device.user)


def local_part(name: str) -> str:
    return name.rpartition("\\")[2].partition("@")[0].lower()


def names_in_doubt(
    devices: Sequence[Device], target: TargetRows, redaction: Redaction | None = None
) -> tuple[str, ...]:
    """The users that only a directory can identify: in clear journals those whose name no row
    has; in hashed ones the users of rows whose id belongs to nobody or to several users."""
    if redaction is not None and redaction.users == "hash":
        users_of: dict[str, set[int]] = {}
        for device in devices:
            users_of.setdefault(device.device_id or "", set()).add(device.user_key)
        ids = ((redaction.name(folded_id(row.device_id)) or "", row) for row in target.rows)
        rows = (row for key, row in ids if len(users_of.get(key, ())) != 1)
        return tuple(sorted({name for row in rows for name in row.users[:1]}))
    named = {name.lower() for row in target.rows for name in row.users}
    users = {device.user for device in devices if device.device_id and device.user}
    return tuple(sorted(user for user in users if user.lower() not in named))


def unjoinable(devices: Sequence[Device], redaction: Redaction) -> str | None:
    """Why no row can be matched with these journals, and what to do."""
    if not any(device.device_id for device in devices):
        return (
            'These journals name no device (journal.users = "drop", or nobody called): nothing can'
            ' be joined with the target\'s lists. Read journals with users = "hash" or "clear".'
        )
    return key_lacking(devices, redaction)


def key_lacking(devices: Sequence[Device], redaction: Redaction) -> str | None:
    """What to do if all names are hashes and the key is not known."""
    texts = [text for device in devices for text in (device.user, device.device_id) if text]
    hashed = (_PSEUDONYM.fullmatch(text.rpartition("\\")[2]) for text in texts)
    if redaction.users == "hash" or not texts or not all(hashed):
        return None
    return (
        "Users and devices of these journals are hashed. Name the configuration that they were"
        " written with (--config): its journal.hash_key_file is the key to join them."
    )


def with_target(
    report: Report,
    target: TargetRows,
    accounts: Accounts | None = None,
    redaction: Redaction | None = None,
) -> Report:
    """The report with a verdict for each person's device; states and counts follow from it."""
    join = Join(target, report.devices, accounts, redaction)
    known = [join.of_device(device) for device in report.devices]
    new = _new_ids(join, report.devices, known)
    devices = tuple(
        device if device.machine else _with(device, _judge(join, device, row, new))
        for device, row in zip(report.devices, known, strict=True)
    )
    files = {name for one in known if one is not None for name in one.files}
    covered: set[int] = {d.user_key for d, row in zip(devices, known, strict=True) if row}
    for device in devices:
        if not device.machine and device.user_key not in covered:
            rows = join.of_user(device)
            files.update(row.file.name for row in rows)
            covered.update({device.user_key} if rows else ())
    matched = sum(row is not None for row in known)
    strange = tuple(file.name for file in target.files if file.name not in files)
    counted_again = totals(
        devices,
        exchanges=report.totals.exchanges,
        redirects=report.totals.redirects,
        would_redirects=report.totals.would_redirects,
    )
    arrivals = report.arrivals
    if arrivals.still_calling:
        arrivals = replace(arrivals, still_calling=still_calling(devices))
    return replace(
        report,
        devices=devices,
        totals=counted_again,
        states_over_time=_to_now(report.states_over_time, devices, counted_again),
        by_wave=group_by(devices, lambda device: device.wave),
        by_device_type=group_by(devices, lambda device: device.device_type),
        by_family=group_by(devices, lambda device: device.family),
        arrivals=arrivals,
        readiness=readiness(devices),
        target=Target(
            files=len(target.files),
            rows=len(target.rows),
            left_out=dict(target.left_out),
            newest_s=target.newest_s,
            matched=matched,
            users_covered=len(covered),
            strange_files=strange,
            counts=_counts(devices),
            notes=tuple(_notes(target, devices, covered, strange)),
        ),
    )


def _with(device: Device, arrival: Arrival) -> Device:
    confirmed = arrival.handover is Handover.CONFIRMED
    state = LedgerState.CONFIRMED if confirmed else device.state
    return replace(device, arrival=arrival, state=state)


def _to_now(
    points: tuple[StatesAt, ...], devices: Sequence[Device], now: Totals
) -> tuple[StatesAt, ...]:
    """The last point, updated by what the target knows; its list does not say when each one
    arrived."""
    if not points:
        return points
    users = users_by_state(devices)
    last = replace(
        points[-1],
        states=now.states,
        users={state.value: users[state] for state in STATES},
    )
    return (*points[:-1], last)


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


def _notes(
    target: TargetRows, devices: Sequence[Device], covered: set[int], strange: Sequence[str]
) -> Iterator[str]:
    yield from target.notes
    for why, rows in sorted(target.left_out.items()):
        yield f"{counted(rows, 'row')} of the target left out: {why}."
    for name in strange:
        yield (
            f"{name} names no user and no device of these journals: it is the wrong file, of"
            " another tenant or wave, or hashed journals need their key (--config)."
        )
    if len(strange) < len(target.files):
        yield from _waves_without_rows(devices, covered)
    others = sum(1 for d in devices if d.arrival and d.arrival.why == _ANOTHER_USERS)
    if others:
        yield (
            f"The ids of {counted(others, 'device')} stand at the target under another name. With"
            " --config the directory tells whose these names are."
        )
    if target.newest_s is not None:
        yield f"The target's files reach to {moment(target.newest_s)} UTC: later is not yet known."


def _waves_without_rows(devices: Sequence[Device], covered: set[int]) -> Iterator[str]:
    waves: dict[str, set[int]] = {}
    for device in devices:
        if device.wave and device.redirects and not device.machine:
            waves.setdefault(device.wave, set()).add(device.user_key)
    for wave, users in sorted(waves.items())[:_SAID_WAVES]:
        if users.isdisjoint(covered):
            yield (
                f"The target's files name none of {counted(len(users), 'user')} of the wave {wave}:"
                " export those users, too."
            )


def _new_ids(
    join: Join, devices: Sequence[Device], known: Sequence[_Known | None]
) -> dict[int, TargetRow]:
    """For each device that was replaced when its account was added again: the new row, by
    `id(device)`. Only if there is exactly one new id for each old one."""
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
    """It was redirected, and has been silent on both sides since."""
    if device.redirected_s is None or device.state not in _SILENT:
        return False
    row = known.row if known else None
    return row is None or not _arrived(row, device.redirected_s)


def _arrived(row: TargetRow, told_s: float) -> bool:
    """A partnership may have moved along with the mailbox, including its last sync: only a sync
    clearly later than the redirect is an arrival."""
    return row.success_s is not None and row.success_s > told_s + CLOCKS_S


def _judge(
    join: Join, device: Device, known: _Known | None, new: Mapping[int, TargetRow]
) -> Arrival:
    row = known.row if known else None
    found = _told(device, row) if device.redirected_s is not None else _never_told(device, row)
    if found is None and (again := new.get(id(device))) is not None:
        return _re_added(join, again, device.redirected_s or 0.0)
    handover, why = found or _silent(join, device, row, device.redirected_s or 0.0)
    return Arrival(
        handover=handover,
        why=why,
        joined_by=known.joined_by if known else None,
        success_s=row.success_s if row else None,
        allowed=row is not None and row.state == "allowed",
    )


def _told(device: Device, row: TargetRow | None) -> tuple[Handover, str] | None:
    """For a device that was redirected; None if it has been silent since, on both sides."""
    told = device.redirected_s or 0.0
    if row is not None and _being_checked(row, told):
        return (
            Handover.UNKNOWN,
            "It is being checked at the target. Export again in a quarter of an hour.",
        )
    if _is_back(device, row, told):
        return (
            Handover.STILL_HERE,
            f"It called here again at {moment(device.returned_s)} UTC.{_but_held(row)}",
        )
    if row is not None and (held := _held(row)) is not None:
        return Handover.HELD, held
    if row is not None and _arrived(row, told):
        return _arrival(row, "after the redirect")
    if device.state is LedgerState.CONFIRMED:
        return Handover.CONFIRMED, "The proxy itself saw it call its target."
    return None


def _never_told(device: Device, row: TargetRow | None) -> tuple[Handover, str]:
    called = f"It was never redirected, and called here at {moment(device.last_seen_s)} UTC"
    silent = device.silent_s >= SILENCE_S
    if row is None or row.refused_only:
        if silent:
            return Handover.UNKNOWN, f"{called} for the last time. The target does not know it."
        return Handover.STILL_HERE, f"{called}."
    held = None if _being_checked(row, 0.0) else _held(row)
    there = (_latest(row) or None) if held else row.success_s
    if (there is None and not silent) or (there and device.last_seen_s > there + CLOCKS_S):
        return Handover.STILL_HERE, f"{called}, later than the target saw it.{_but_held(row)}"
    if held is not None:
        return Handover.HELD, held
    if there is None:
        return Handover.UNKNOWN, "The target lists it, and does not say that it ever synced there."
    handover, why = _arrival(row, "and this proxy never redirected it")
    return (Handover.ELSEWHERE if handover is Handover.CONFIRMED else handover), why


def _is_back(device: Device, row: TargetRow | None, told: float) -> bool:
    """Whether it called here after everything that the target saw of it."""
    back, still = device.returned_s, device.state not in _SILENT
    if back is None:
        return False
    if row is not None and _held(row) is not None:
        return still and 0.0 < _latest(row) < back - CLOCKS_S
    if row is not None and row.success_s is not None and _arrived(row, told):
        return back > row.success_s + CLOCKS_S
    return still


def _being_checked(row: TargetRow, told: float) -> bool:
    """In device discovery or upgrade, and not for long."""
    if row.state != _LOOKED_AT and (row.reason or "").lower() != "upgrade":
        return False
    newest = row.file.newest_s
    return newest is None or newest - max(row.first_s or 0.0, told) <= CHECKED_S


def _held(row: TargetRow) -> str | None:
    """Why the target withholds mail from it. Only for a device that is not being checked."""
    because = f" ({row.reason})" if row.reason else ""
    if row.state in _HELD:
        return f"The target has it {row.state}{because}."
    if row.state == _LOOKED_AT:
        return f"The target has been looking at it for over 15 minutes{because}."
    return None


def _but_held(row: TargetRow | None) -> str:
    held = _held(row) if row is not None else None
    return f" {held}" if held else ""


def _arrival(row: TargetRow, more: str) -> tuple[Handover, str]:
    """For a device that the target does not hold back; `more` is added to its last sync."""
    words = f"It synced at the target at {moment(row.success_s)} UTC, {more}."
    if row.state not in (None, "allowed"):
        return (
            Handover.UNKNOWN,
            f"{words} Its access state there is {row.state}, and not allowed.",
        )
    if row.state is None and row.from_log:
        words += " A log does not show whether a device is quarantined."
    return Handover.CONFIRMED, words


def _re_added(join: Join, row: TargetRow, told: float) -> Arrival:
    state = row.state or "of unknown state"
    works = row.state in (None, "allowed") and (row.success_s or 0.0) > told
    words = "synced there" if works else f"is {state}, and has not synced there as far as is known"
    return Arrival(
        handover=Handover.RE_ADDED,
        why=f"The user's account was added again: a new id of the same type {words}.",
        joined_by="user",
        success_s=row.success_s if works else None,
        allowed=row.state == "allowed",
        new_device_id=join.shown_id(row),
    )


def _silent(join: Join, device: Device, row: TargetRow | None, told: float) -> tuple[Handover, str]:
    """Nothing later than the redirect, on either side. What each side knows must reach far
    enough for the silence to mean something, given the device's own usual interval."""
    newest = row.file.newest_s if row is not None else join.reach(device)
    if newest is None or newest <= told + CLOCKS_S:
        return (
            Handover.UNKNOWN,
            "The target's files end before the redirect, or at about its time: not yet known.",
        )
    if row is not None and row.refused_only:
        return Handover.ASKED_TO_SIGN_IN, "The target answered 401 to everything that it sent."
    if row is not None and not row.tells_success:
        return (
            Handover.UNKNOWN,
            "The file has no LastSuccessSync: export Get-MobileDeviceStatistics.",
        )
    if row is not None and row.success_s is not None and row.success_s > told - CLOCKS_S:
        return (
            Handover.UNKNOWN,
            "Its last sync at the target lies too close to the redirect to tell: export again.",
        )
    if row is not None and row.attempt_s is not None and row.attempt_s > told + CLOCKS_S:
        return Handover.UNKNOWN, "It reaches the target, and no sync has succeeded there since."
    due = max(told, device.last_seen_s) + quiet_after(device.usual_interval_s)
    if device.state is LedgerState.REDIRECTED or newest < due:
        return (
            Handover.UNKNOWN,
            f"Too early to tell: by its usual interval it may be silent until {moment(due)} UTC.",
        )
    if row is None:
        return _without_row(join, device)
    return Handover.ASKED_TO_SIGN_IN, "It has been silent since the redirect, here and there."


_ANOTHER_USERS = "Its id stands at the target under another user, or under several."


def _without_row(join: Join, device: Device) -> tuple[Handover, str]:
    if device.device_id is None:
        return Handover.UNKNOWN, "It never named its device id."
    if join.has_id(device.device_id):
        return Handover.UNKNOWN, _ANOTHER_USERS
    if any(not row.from_log for row in join.of_user(device)):
        return (
            Handover.ASKED_TO_SIGN_IN,
            "The target lists other devices of this user, and not this one.",
        )
    return Handover.UNKNOWN, "The target's files name neither the device nor its user."


def _latest(row: TargetRow) -> float:
    """When the target last saw it; 0.0 if that is not known."""
    return max(row.attempt_s or 0.0, row.success_s or 0.0, row.first_s or 0.0)


def _merged(rows: Sequence[TargetRow]) -> TargetRow:
    """Several rows of one device as one; the state is that of the latest row."""
    if len(rows) == 1:
        return rows[0]
    stated = max((row for row in rows if row.state), key=_latest, default=None)
    return TargetRow(
        device_id=rows[0].device_id,
        device_type=next((row.device_type for row in rows if row.device_type), None),
        users=tuple(dict.fromkeys(name for row in rows for name in row.users)),
        shown_names=tuple(dict.fromkeys(name for row in rows for name in row.shown_names)),
        owner=next((row.owner for row in rows if row.owner), None),
        state=stated.state if stated else None,
        reason=stated.reason if stated else None,
        first_s=min((row.first_s for row in rows if row.first_s is not None), default=None),
        attempt_s=max((row.attempt_s for row in rows if row.attempt_s is not None), default=None),
        success_s=max((row.success_s for row in rows if row.success_s is not None), default=None),
        tells_success=any(row.tells_success for row in rows),
        refused_only=all(row.refused_only for row in rows),
        from_log=all(row.from_log for row in rows),
        file=max((row.file for row in rows), key=lambda file: file.newest_s or 0.0),
    )
