"""A month of phones with known truth: who obeys, who ignores, loops, dies or is slow.

Yields the records that the addon would journal, in the order of time, and says what a report must
call each device at the end.
"""

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from eas_redirect.telemetry.clients import client_family
from eas_redirect.telemetry.record import Record, journal_line

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
START = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
MONTH = 28 * DAY
OLD_HOST = "mail.contoso.example"
CLOUD = "https://outlook.office365.com/Microsoft-Server-ActiveSync"

CLIENTS = (
    ("Apple-iPhone14C5/2105.90", "iPhone", 40),
    ("Apple-iPhone6C2/1204.97", "iPhone", 4),
    ("Apple-iPhone3C1/902.206", "iPhone", 2),
    ("Android-Mail/2025.01.12.713344.Release", "Android", 20),
    ("Android-SAMSUNG-SM-G950F/101.80000", "SAMSUNGSMG950F", 15),
    ("Android/4.4.2-EAS-1.3", "Android", 5),
    ("Outlook-iOS-Android/1.0", "Outlook", 8),
    ("MSFT-WP/8.10.14219", "WP8", 3),
    ("MSFT-WIN-3/6.3.9600", "WindowsMail", 3),
)

# Persona → (the state that a report must find, how many in a hundred).
PERSONAS = {
    "staying": ("seen", 25),
    "dead": ("seen", 5),  # fell silent before its mailbox moved
    "obedient": ("quiet", 45),
    "arrived": ("confirmed", 5),  # seen at the target too
    "impatient": ("quiet", 4),  # two comebacks within a minute, then it followed
    "ignoring": ("stuck", 6),
    "looping": ("stuck", 3),
    "hesitant": ("returned", 3),  # came back shortly before the end
    "slow": ("redirected", 2),  # calls every other day: silence says nothing yet
    "late": ("redirected", 2),  # redirected minutes before the end
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """One device, its persona, and when its mailbox moves."""

    number: int
    persona: str
    user_agent: str
    device_type: str
    interval_s: float
    moves_s: float

    @property
    def truth(self) -> str:
        return PERSONAS[self.persona][0]

    @property
    def device_id(self) -> str:
        return f"Appl{self.number:08d}"

    @property
    def user(self) -> str:
        return f"user{self.number}"

    @property
    def email(self) -> str:
        return f"{self.user}@contoso.example"


@dataclass(slots=True)
class Simulation:
    """`phones` devices over `length_s`; the same seed gives the same month."""

    phones: int
    seed: int = 1
    length_s: float = MONTH
    cast: list[Phone] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)  # noqa: S311 - a month that comes out the same each time
        names = list(PERSONAS)
        weights = [share for _, share in PERSONAS.values()]
        for number in range(self.phones):
            drawn = chance.choices(names, weights)[0]
            persona = names[number] if number < len(names) <= self.phones else drawn
            self.cast.append(self._phone(chance, number, persona))

    @property
    def end_s(self) -> float:
        return START + self.length_s

    def records(self) -> Iterator[Record]:
        """Every exchange, in the order in which they ended; the last one at the very end."""
        return heapq.merge(
            *(self._life(phone) for phone in self.cast),
            iter([self._probe()]),
            key=lambda record: record.timestamp_s,
        )

    def truths(self) -> dict[str, str]:
        """Device id → state."""
        return {phone.device_id: phone.truth for phone in self.cast}

    def _phone(self, chance: random.Random, number: int, persona: str) -> Phone:
        agents = [(agent, kind) for agent, kind, _ in CLIENTS]
        agent, kind = chance.choices(agents, [weight for *_, weight in CLIENTS])[0]
        interval = chance.uniform(0.5, 4) * HOUR
        moves = chance.uniform(0.2, 0.8) * self.length_s
        match persona:
            case "slow":
                interval, moves = 2 * DAY, self.length_s - 3 * DAY
            case "late":
                moves = self.length_s - 30 * MINUTE
            case "hesitant":
                moves = self.length_s - 40 * MINUTE
            case _:
                pass
        return Phone(
            number=number,
            persona=persona,
            user_agent=agent,
            device_type=kind,
            interval_s=interval,
            moves_s=START + moves,
        )

    def _life(self, phone: Phone) -> Iterator[Record]:
        chance = random.Random(f"{self.seed} {phone.number}")  # noqa: S311 - as above
        now = START + chance.uniform(0, phone.interval_s)
        silent = phone.moves_s - 2 * DAY if phone.persona == "dead" else self.end_s
        until = silent if phone.persona in ("staying", "dead") else phone.moves_s
        while now < until:
            yield self._call(phone, now)
            now += phone.interval_s * chance.uniform(0.8, 1.2)
        if phone.persona not in ("staying", "dead"):
            yield from self._after_the_move(phone, chance)

    def _after_the_move(self, phone: Phone, chance: random.Random) -> Iterator[Record]:
        told = phone.moves_s
        yield self._redirect(phone, told)
        match phone.persona:
            case "arrived":
                for wait in (2, 20 * MINUTE, 5 * HOUR):
                    yield self._call(phone, told + wait, url_domain="outlook.office365.com")
            case "impatient":
                yield self._redirect(phone, told + 20)
                yield self._redirect(phone, told + 40)
            case "hesitant":
                yield self._redirect(phone, told + 20 * MINUTE)
            case "ignoring":
                now = told + phone.interval_s
                while now < self.end_s:
                    yield self._redirect(phone, now)
                    now += phone.interval_s * chance.uniform(0.8, 1.2)
                yield self._redirect(phone, self.end_s - 5 * MINUTE)
            case "looping":
                start = told + HOUR
                while start < self.end_s - HOUR:
                    for step in range(6):
                        yield self._redirect(phone, start + 2 * step)
                    start += 4 * HOUR
                yield self._redirect(phone, self.end_s - 6 * MINUTE)
            case _:
                # A Ping that was on its way ends after the redirect: no comeback.
                yield replace(
                    self._redirect(phone, told + 3), command="Ping", duration_ns=600 * 10**9
                )

    def _call(self, phone: Phone, at_s: float, url_domain: str = OLD_HOST) -> Record:
        return Record(
            timestamp_s=round(at_s, 3),
            action="eas.exchange",
            message="passed: other_answer",
            reason="other_answer",
            outcome="success",
            duration_ns=80_000_000,
            client_address="192.0.2.10",
            method="POST",
            status_code=200,
            url_domain=url_domain,
            url_path="/Microsoft-Server-ActiveSync",
            user_agent=phone.user_agent,
            user_name=phone.user,
            user_domain="contoso.example",
            user_email=phone.email,
            command="Sync",
            protocol_version="14.1",
            query_encoding="base64",
            device_id=phone.device_id,
            device_type=phone.device_type,
            client_family=client_family(phone.user_agent, phone.device_type),
            auth_scheme="basic",
            logon_format="upn",
            evidence="none",
            mode="enforce",
            decision="pass",
        )

    def _redirect(self, phone: Phone, at_s: float) -> Record:
        return replace(
            self._call(phone, at_s),
            action="eas.redirect",
            message="redirected to outlook.office365.com",
            reason="mailbox_moved",
            status_code=451,
            upstream_status_code=200,
            upstream_status=123,
            evidence="certain",
            decision="redirect",
            redirect_location=CLOUD,
            directory_source="ldap",
            directory_cache="miss",
            directory_duration_ms=round(1.5 + phone.number % 7 * 3.3, 1),
            directory_target_domain="contoso.mail.onmicrosoft.com",
            wave=f"users+percent:{phone.number % 3 * 10 + 10}",
        )

    def _probe(self) -> Record:
        """Exchange's own probe: no person's device, and the end of the month."""
        return Record(
            timestamp_s=self.end_s,
            action="eas.exchange",
            message="passed: other_answer",
            reason="other_answer",
            status_code=200,
            url_domain=OLD_HOST,
            user_agent="TestActiveSyncConnectivity",
            user_name="HealthMailbox1",
            user_domain="contoso.example",
            device_id="Probe",
            device_type="EASProbeDeviceType",
            decision="pass",
        )


def write_journal(path: Path, records: Iterable[Record]) -> Path:
    with path.open("wb") as file:
        file.writelines(map(journal_line, records))
    return path
