"""Which devices an administrator let in here, and the PowerShell that lets them in at the target.

Names and ids come from clients, and in a script they could be code. Ids with unusual characters are
left out, and every quote inside quotes is doubled. Pure.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from eas_redirect.activesync.request import caseless
from eas_redirect.planning.plan import PlannedUser
from eas_redirect.report.exports import csv_rows
from eas_redirect.telemetry.printable import printable

MAX_IDS = 1300  # values that a non-linked attribute holds
_ID = re.compile(r"[A-Za-z0-9_{}.-]{1,64}", re.ASCII)
_QUOTES = re.compile(r"['\u2018-\u201b]")


class ScriptForm(StrEnum):
    """When the script can run. Exchange Online has no mailbox to allow devices for until the
    move is completed."""

    BEFORE = "before"
    AFTER = "after"
    RULE = "rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One user's devices; `user` is the identity for Set-CASMailbox."""

    user: str
    ids: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    device_types: tuple[str, ...] = ()  # of `ids`, as far as known
    left_out: tuple[str, ...] = ()  # sentences


def approvals(
    planned: Sequence[PlannedUser], *, known: bool = False, from_logs: bool = False
) -> tuple[Approval, ...]:
    """For each user that the directory found: individually approved devices; with `known` every
    partnership in state allowed; with `from_logs` devices that Exchange answered with 200."""
    return tuple(_approval(user, known, from_logs) for user in planned if user.account)


def _approval(user: PlannedUser, known: bool, from_logs: bool) -> Approval:
    ids: dict[str, str] = {caseless(one): one for one in user.lists.allowed}
    barred: dict[str, str] = {caseless(one): one for one in user.lists.blocked}
    types: dict[str, str] = {}
    for planned in user.devices:
        device, seen = planned.known.device, planned.known.seen
        if not device.device_id:
            continue
        key = caseless(device.device_id)
        types[key] = device.device_type or ""
        if device.access == "blocked":
            barred.setdefault(key, device.device_id)
        stored = device.access == "allowed" and (known or device.approved_alone)
        logged = from_logs and not planned.known.stored and seen is not None and seen.accepted
        if stored or logged:
            ids.setdefault(key, device.device_id)
    held = {
        caseless(planned.known.device.device_id or "")
        for planned in user.devices
        if planned.known.device.access in ("blocked", "quarantined", "discovery")
    }
    good = {key: one for key, one in ids.items() if key not in barred and key not in held}
    name = user.user_principal_name or user.address or user.user
    said = printable(name)
    left_out = [
        f"{said}: a device id holds characters that no id has: left out."
        for one in (*good.values(), *barred.values())
        if not _ID.fullmatch(one)
    ]
    if not name.isprintable():
        left_out.append(f"{name!a}: holds characters that do not show: left out.")
        good, barred = {}, {}
    if len(good) > MAX_IDS:
        left_out.append(f"{said}: more than {MAX_IDS} ids, which no mailbox holds: left out.")
        good = {}
    kinds = sorted({types[key] for key in good if types.get(key)})
    return Approval(
        user=name,
        ids=tuple(one for one in good.values() if _ID.fullmatch(one)),
        blocked=tuple(one for one in barred.values() if _ID.fullmatch(one)),
        device_types=tuple(kind for kind in kinds if _ID.fullmatch(kind)),
        left_out=tuple(left_out),
    )


def quoted(text: str) -> str:
    """A PowerShell literal; PowerShell also accepts typographic single quotes as quotes."""
    return "'" + _QUOTES.sub(lambda found: found[0] * 2, text) + "'"


def allow_script(found: Sequence[Approval], form: ScriptForm) -> str:
    """Only adds ids, can run repeatedly, and changes nothing without -Apply."""
    if form is ScriptForm.RULE:
        return _rules(found)
    waits = form is ScriptForm.AFTER
    parameters = "param([switch]$Apply, [int]$Hours = 24)" if waits else "param([switch]$Apply)"
    lists = _LISTS.format(
        users="\n".join(_entries(found, "ids")),
        parameter="ActiveSyncAllowedDeviceIDs",
        verb="allow",
        done="allowed",
    )
    return "\n".join((_HEAD + _ALLOWS, parameters, lists, _LOOP if waits else _ONCE, ""))


def block_script(found: Sequence[Approval]) -> str:
    """The same for ids that are blocked here."""
    lists = _LISTS.format(
        users="\n".join(_entries(found, "blocked")),
        parameter="ActiveSyncBlockedDeviceIDs",
        verb="block",
        done="blocked",
    )
    return "\n".join((_HEAD + _BLOCKS, "param([switch]$Apply)", lists, _ONCE, ""))


def approvals_csv(found: Sequence[Approval]) -> Iterator[str]:
    """One row per user and id."""
    rows: Iterator[dict[str, object]] = (
        {"user": one.user, "device_id": device, "access": access}
        for one in found
        for access, ids in (("allow", one.ids), ("block", one.blocked))
        for device in ids
    )
    return csv_rows(("user", "device_id", "access"), rows)


def undo_script() -> str:
    """Removes the rules that the script of `ScriptForm.RULE` made, and no others."""
    return _HEAD + _UNDO


def _entries(found: Sequence[Approval], which: str) -> Iterator[str]:
    for one in found:
        ids = one.ids if which == "ids" else one.blocked
        if ids:
            yield f"  @{{ User = {quoted(one.user)}; Ids = @({', '.join(map(quoted, ids))}) }}"


def _rules(found: Sequence[Approval]) -> str:
    kinds = sorted({kind for one in found for kind in one.device_types})
    return _HEAD + _RULES.replace("@TYPES@", "\n".join(f"  {quoted(kind)}" for kind in kinds))


# What runs on the oldest target: Windows Server 2012 has PowerShell 3.
_HEAD = "#Requires -Version 3.0\n"
_ALLOWS = """\
# Lets devices in that were approved at the old server. It only adds: run it as often as you like.
# Without -Apply it only says what it would do."""
_BLOCKS = """\
# Blocks devices that are blocked at the old server. It only adds: run it as often as you like.
# Without -Apply it only says what it would do."""
_LISTS = """$ErrorActionPreference = 'Stop'
$users = @(
{users}
)
function Add-Ids($entry) {{
  try {{
    $found = @(Get-CASMailbox -Identity $entry.User -ErrorAction SilentlyContinue)
    if ($found.Count -ne 1) {{ return $false }}
    $new = @($entry.Ids | Where-Object {{ $found[0].{parameter} -notcontains $_ }})
    if ($new.Count -eq 0) {{ return $true }}
    if (-not $Apply) {{
      Write-Host "would {verb} $($new -join ', ') for $($entry.User)"
      return $true
    }}
    Set-CASMailbox -Identity $entry.User -{parameter} @{{ Add = $new }}
    Write-Host "{done} $($new -join ', ') for $($entry.User)"
    return $true
  }} catch {{
    Write-Warning "$($entry.User): $($_.Exception.Message)"
    return $false
  }}
}}"""
_ONCE = """foreach ($entry in $users) {
  if (-not (Add-Ids $entry)) {
    Write-Warning "$($entry.User) is not one mailbox here, or could not be changed: left out."
  }
}"""
_LOOP = """# For those whose mailbox is there: the others are tried again every five minutes.
$waiting = $users
$until = (Get-Date).AddHours($Hours)
while ($true) {
  $waiting = @($waiting | Where-Object { -not (Add-Ids $_) })
  if ($waiting.Count -eq 0 -or -not $Apply -or (Get-Date) -ge $until) { break }
  Start-Sleep -Seconds 300
}
foreach ($entry in $waiting) { Write-Warning "$($entry.User) has no mailbox here yet." }"""
_RULES = """# Lets these device types in for the days of the waves, whoever's they are.
# Without -Apply it only says what it would do.
# What it makes stands in -Made; the second script undoes that and nothing else.
param([switch]$Apply, [string]$Made = (Join-Path $PSScriptRoot 'rules-made.txt'))
$ErrorActionPreference = 'Stop'
$types = @(
@TYPES@
)
foreach ($type in $types) {
  $there = @(Get-ActiveSyncDeviceAccessRule | Where-Object {
    "$($_.Characteristic)" -eq 'DeviceType' -and $_.QueryString -eq $type })
  if ($there.Count -gt 0) {
    Write-Host "there is a rule for $type ($($there[0].AccessLevel)): left as it is"
    continue
  }
  if (-not $Apply) { Write-Host "would allow devices of type $type"; continue }
  $rule = New-ActiveSyncDeviceAccessRule -AccessLevel Allow -Characteristic DeviceType `
    -QueryString $type
  Add-Content -LiteralPath $Made -Encoding UTF8 -Value "$($rule.Identity)"
}
"""
_UNDO = """# Removes the rules that the first script made.
# Without -Apply it only says what it would do.
param([switch]$Apply, [string]$Made = (Join-Path $PSScriptRoot 'rules-made.txt'))
$ErrorActionPreference = 'Stop'
if (-not (Test-Path -LiteralPath $Made)) { Write-Host "$Made is not there: no rule was made"; exit }
foreach ($rule in @(Get-Content -LiteralPath $Made -Encoding UTF8)) {
  if (-not $rule) { continue }
  $there = Get-ActiveSyncDeviceAccessRule -Identity $rule -ErrorAction SilentlyContinue
  if (-not $there) { continue }
  if (-not $Apply) { Write-Host "would remove the rule $rule"; continue }
  Remove-ActiveSyncDeviceAccessRule -Identity $rule -Confirm:$false
}
"""
