"""Journals of any size, quickly: the lines of a few templates, with truth that is known."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from eas_redirect.telemetry.record import Record, journal_line

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 30
_STUCK_OF_100, _QUIET_OF_100 = 3, 40
_AGENTS = (
    ("Apple-iPhone14C5/2105.90", "iPhone", "apple_mail"),
    ("Android-Mail/2025.01.12.713344", "Android", "gmail"),
    ("Android-SAMSUNG-SM-G950F/101.80000", "SAMSUNGSMG950F", "samsung_email"),
    ("Outlook-iOS-Android/1.0", "Outlook", "outlook_mobile"),
    ("MSFT-WP/8.10.14219", "WP8", "windows_phone"),
)
_TARGET_COLUMNS = (
    *("User", "DeviceID", "DeviceType", "DeviceAccessState", "DeviceAccessStateReason"),
    *("FirstSyncTime", "LastSyncAttemptTime", "LastSuccessSync", "ClientType"),
)
_AT = "2000-01-01T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Crowd:
    """`devices` that write `lines` over a month at most. Of a hundred, three are stuck and forty
    followed after a quarter of it; the others are not redirected. Of those that followed, every
    tenth is in quarantine at the target, and every tenth unknown there."""

    lines: int
    devices: int

    def states(self) -> dict[str, int]:
        kinds = [self._kind(number) for number in range(self.devices)]
        return {kind: kinds.count(kind) for kind in ("seen", "stuck", "quiet")}

    def write(self, path: Path) -> Path:
        with path.open("wb", buffering=1 << 20) as file:
            file.writelines(self._lines())
        return path

    def write_target(self, path: Path) -> Path:
        """What the target's Get-MobileDeviceStatistics says of each device that it knows, at the
        end of the month."""
        end = START.timestamp() + (self.rounds + 1) * self.turn_s
        with path.open("w", encoding="utf-8-sig", newline="", buffering=1 << 20) as file:
            file.write(",".join(f'"{name}"' for name in _TARGET_COLUMNS) + "\r\n")
            for number in range(self.devices):
                if (verdict := self.verdict(number)) == "unknown":
                    continue
                held = verdict == "quarantined_or_blocked"
                cells = (
                    f"user{number}@contoso.example",
                    f"APPL{number}",
                    _AGENTS[number % len(_AGENTS)][1],
                    *(("Quarantined", "Global") if held else ("Allowed", "Individual")),
                    *("2025-01-05T08:00:00Z", _stamp(end), "" if held else _stamp(end), "EAS"),
                )
                file.write(",".join(f'"{cell}"' for cell in cells) + "\r\n")
        return path

    def verdicts(self) -> dict[str, int]:
        return Counter(map(self.verdict, range(self.devices)))

    def verdict(self, number: int) -> str:
        match self._kind(number), number // 100 % 10:
            case "stuck", _:
                return "confirmed"  # the target has seen it after its last call here
            case "quiet", 0:
                return "quarantined_or_blocked"
            case "quiet", 1:
                return "unknown"
            case "quiet", _:
                return "confirmed"
            case _:
                return "elsewhere_already"

    @property
    def rounds(self) -> int:
        return max(6, self.lines // self.devices)

    @property
    def turn_s(self) -> float:
        return min(6 * 3600, DAYS * 86400 / self.rounds)

    def _lines(self) -> Iterator[bytes]:
        passed, told = _templates("other_answer"), _templates("mailbox_moved")
        rounds = self.rounds
        for turn in range(rounds):
            when = _stamp(START.timestamp() + turn * self.turn_s).encode()
            for number in range(self.devices):
                kind = self._kind(number)
                moved = kind != "seen" and turn >= rounds // 4
                if moved and kind == "quiet" and turn > rounds // 4:
                    continue
                template = (told if moved else passed)[number % len(_AGENTS)]
                yield template % (when, number, number)

    @staticmethod
    def _kind(number: int) -> str:
        place = number % 100
        if place < _STUCK_OF_100:
            return "stuck"
        return "quiet" if place < _STUCK_OF_100 + _QUIET_OF_100 else "seen"


def _stamp(at_s: float) -> str:
    stamp = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


def _templates(reason: str) -> list[bytes]:
    redirect = reason == "mailbox_moved"
    base = Record(
        timestamp_s=datetime.fromisoformat(_AT).timestamp(),
        action="eas.redirect" if redirect else "eas.exchange",
        message=f"Sync: {reason}",
        reason=reason,
        outcome="success",
        duration_ns=80_000_000,
        client_address="192.0.2.17",
        client_port=50123,
        server_address="10.0.0.5",
        server_port=443,
        method="POST",
        status_code=451 if redirect else 200,
        url_domain="mail.contoso.example",
        url_path="/Microsoft-Server-ActiveSync",
        user_name="USERNAME",
        user_domain="CONTOSO",
        device_id="DEVICEID",
        command="Sync",
        protocol_version="14.1",
        query_encoding="base64",
        auth_scheme="basic",
        logon_format="down_level",
        upstream_status_code=200,
        upstream_duration_ms=71.5,
        evidence="certain" if redirect else "none",
        mode="enforce",
        decision="redirect" if redirect else "pass",
        redirect_location="https://outlook.office365.com/Microsoft-Server-ActiveSync"
        if redirect
        else None,
        directory_source="ldap" if redirect else None,
        directory_cache="miss" if redirect else None,
        directory_duration_ms=1.4 if redirect else None,
    )
    return [_template(base, agent, kind, family) for agent, kind, family in _AGENTS]


def _template(base: Record, agent: str, kind: str, family: str) -> bytes:
    line = journal_line(replace(base, user_agent=agent, device_type=kind, client_family=family))
    line = line.replace(b"%", b"%%").replace(_AT.encode(), b"%s")
    return line.replace(b"USERNAME", b"user%d").replace(b"DEVICEID", b"Appl%d")
