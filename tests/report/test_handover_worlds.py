"""Worlds of chance: each device's fate is known, and so what every output has to say of it."""

import csv
import html
import io
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eas_redirect.report.certificate import Outcome, certify, render_certificate
from eas_redirect.report.exports import report_csv, report_json
from eas_redirect.report.figures import make_report
from eas_redirect.report.handover import Account, with_target
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.page import report_page
from eas_redirect.report.report_values import Report
from eas_redirect.report.target_rows import read_target
from eas_redirect.report.words import stamp
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.record import Record, lost_record
from tests.report.simulator import DAY, HOUR, MINUTE, START, write_journal
from tests.report.test_figures import call
from tests.report.test_handover import MOVED

END = 20 * DAY  # of the world, in seconds from its start
TYPES = ("iPhone", "SAMSUNGSMG950F", "WP8")  # one for each of a user's devices
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le")

# Fate → verdict of the device, what its user is on the certificate.
FATES = {
    "synced": ("confirmed", "arrived"),
    "kept out": ("quarantined_or_blocked", "quarantined / blocked"),
    "silent": ("asked_to_sign_in", "asked to sign in"),
    "not listed": ("asked_to_sign_in", "asked to sign in"),
    "new id": ("re_added", "arrived"),
    "new id, waiting": ("re_added", "re-added"),
    "comes back": ("still_here", "still here"),
    "never told": ("still_here", "still here"),
    "native": ("elsewhere_already", "arrived"),
    "told just now": ("unknown", "unknown"),
    "drawer": ("unknown", "unknown"),
    "nobody knows": ("unknown", "unknown"),
}
TOLD = ("synced", "kept out", "silent", "not listed", "new id", "new id, waiting", "comes back")
LISTED_THERE = ("synced", "kept out", "silent", "native")
SEEN_LATELY = ("comes back", "never told", "told just now")
WORST_FIRST = (
    *("still here", "quarantined / blocked", "asked to sign in", "re-added", "unknown"),
    *("arrived", "never called"),
)
AGAINST = frozenset(WORST_FIRST[:4])


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    user: "Person"
    fate: str
    device_id: str
    device_type: str

    @property
    def verdict(self) -> str:
        return FATES[self.fate][0]


@dataclass(slots=True, kw_only=True)
class Person:
    """`down_level`: logs on as CONTOSO\\name, and the target knows another address."""

    name: str
    down_level: bool
    on_the_list: bool
    phones: list[Phone]

    @property
    def address(self) -> str:
        return f"{self.name}@contoso.example"

    @property
    def logon(self) -> str:
        return f"CONTOSO\\{self.name}" if self.down_level else self.address

    @property
    def account_id(self) -> str:
        return f"{int(self.name[1:]):016x}"

    @property
    def group(self) -> str:
        groups = {FATES[phone.fate][1] for phone in self.phones} or {"never called"}
        return next(group for group in WORST_FIRST if group in groups)


@dataclass(slots=True, kw_only=True)
class World:
    people: list[Person]
    chance: random.Random
    lost_s: float | None

    @property
    def phones(self) -> list[Phone]:
        return [phone for person in self.people for phone in person.phones]

    def records(self) -> Iterator[Record]:
        for phone in self.phones:
            yield from self._life(phone)
        if self.lost_s is not None:
            yield lost_record(7, START + self.lost_s)
        probe = {"user_agent": "TestActiveSyncConnectivity", "device_type": "EASProbeDeviceType"}
        yield call(END, user_name="HealthMailbox1", device_id="P", **probe)

    def _life(self, phone: Phone) -> Iterator[Record]:
        person = phone.user
        names = {"user_name": person.name, "user_domain": "CONTOSO"}
        if not person.down_level:
            names = {**names, "user_domain": "contoso.example", "user_email": person.address}
        fields = {**names, "device_id": phone.device_id, "device_type": phone.device_type}
        told = {**fields, **MOVED, "user_id": person.account_id}
        moves = END - 20 * MINUTE if phone.fate == "told just now" else 6 * DAY
        moves = END if phone.fate == "never told" else moves
        at = self.chance.uniform(0, 6 * HOUR)
        while at < moves:
            yield call(at, **fields)
            at += 6 * HOUR
        if phone.fate in (*TOLD, "told just now", "nobody knows"):
            yield call(moves, **told)
        if phone.fate == "comes back":
            for back in (10 * DAY, END - 30 * MINUTE):
                yield call(back, **told)

    def exported(self) -> Iterator[tuple[str, ...]]:
        """The target's rows."""
        yield (
            *("User", "DeviceID", "DeviceType", "DeviceAccessState", "DeviceAccessStateReason"),
            *("FirstSyncTime", "LastSyncAttemptTime", "LastSuccessSync", "ClientType"),
        )
        rows = [row for phone in self.phones for row in self._rows(phone)]
        rows.append(self._row("stranger@contoso.example", "STRANGER", "iPhone", "Allowed", END))
        rows.append(
            (*self._row("u0@contoso.example", "APP", "Outlook", "Allowed", END)[:-1], "REST")
        )
        self.chance.shuffle(rows)
        yield from rows

    def _rows(self, phone: Phone) -> Iterator[tuple[str, ...]]:
        device = self.chance.choice((str.lower, str.upper, str))(phone.device_id)
        who = (phone.user.address, device, phone.device_type)
        match phone.fate:
            case "synced" | "native":
                yield self._row(*who, "Allowed", END - HOUR)
            case "kept out":
                yield self._row(*who, self.chance.choice(("Blocked", "Quarantined")), None)
            case "silent":
                yield self._row(*who, "Allowed", 5 * DAY, attempt=5 * DAY)
            case "new id":
                yield self._row(who[0], f"N{device}", who[2], "Allowed", END - HOUR, 7 * DAY)
            case "new id, waiting":
                yield self._row(who[0], f"N{device}", who[2], "Quarantined", None, 7 * DAY)
            case _:
                return

    @staticmethod
    def _row(
        user: str,
        device: str,
        kind: str,
        state: str,
        success: float | None,
        first: float = -300 * DAY,
        attempt: float = END,
    ) -> tuple[str, ...]:
        known = (first, attempt, success)
        times = (stamp(START + at) or "" if at is not None else "" for at in known)
        return (user, device, kind, state, "Individual", *times, "EAS")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    people = []
    for number in range(draw(st.integers(1, 12))):
        person = Person(
            name=f"u{number}",
            down_level=draw(st.booleans()),
            on_the_list=draw(st.booleans()) or number % 3 == 0,
            phones=[],
        )
        # A device that nobody knows belongs to somebody whom the target's file does not name; one
        # that is not listed to somebody whom it does.
        fates = draw(st.lists(st.sampled_from(sorted(FATES)), max_size=len(TYPES)))
        if "nobody knows" in fates:
            fates = ["nobody knows"]
        elif "not listed" in fates and not set(fates) & set(LISTED_THERE):
            fates = [*fates[: len(TYPES) - 1], draw(st.sampled_from(LISTED_THERE))]
        for kind, fate in zip(TYPES, fates, strict=False):
            device_id = f"Appl{number:03d}{len(person.phones)}"
            person.phones.append(
                Phone(user=person, fate=fate, device_id=device_id, device_type=kind)
            )
        people.append(person)
    _share_a_phone(people)
    lost = draw(st.sampled_from((None, 2 * DAY, END - 2 * DAY)))
    chance = random.Random(draw(st.integers(0, 999)))  # noqa: S311 - shrinks with its seed
    return World(people=people, chance=chance, lost_s=lost)


def _share_a_phone(people: list[Person]) -> None:
    """Two accounts on one phone have one id; both are known at the target by their names."""
    owners = [
        person
        for person in people
        if person.phones and person.phones[0].fate in LISTED_THERE and not person.down_level
    ]
    for one, other in zip(owners[::2], owners[1::2], strict=False):
        other.phones[0] = replace(other.phones[0], device_id=one.phones[0].device_id)


def reported(world: World, folder: Path, redaction: Redaction) -> Report:
    records = sorted(world.records(), key=lambda record: record.timestamp_s)
    journal = write_journal(folder / "eas.jsonl", map(redaction.apply, records))
    export = folder / "devices.csv"
    lines = (world.chance.choice((",", ";", "\t")),)
    text = "\r\n".join(lines[0].join(f'"{cell}"' for cell in row) for row in world.exported())
    export.write_bytes(text.encode(world.chance.choice(ENCODINGS)))
    made = make_report(find_sources([str(journal)]), START + END + MINUTE, None, START + END)
    accounts = directory(world, of_rows=redaction.users == "hash")
    return with_target(made, read_target([str(export)], START + END + MINUTE), accounts, redaction)


def directory(world: World, *, of_rows: bool) -> dict[str, Account]:
    return {
        (person.address if of_rows else person.logon): Account(
            logons=frozenset({person.address, person.name}),
            shown=frozenset(),
            account_id=person.account_id,
        )
        for person in world.people
    }


@pytest.mark.parametrize("users", ["clear", "hash"])
@settings(max_examples=12, deadline=None)
@given(world=worlds())
def test_every_verdict_is_right_in_every_output(
    tmp_path_factory: pytest.TempPathFactory, users: str, world: World
) -> None:
    redaction = Redaction(users="hash", key=b"k" * 32) if users == "hash" else Redaction()
    report = reported(world, tmp_path_factory.mktemp("world"), redaction)
    truth = Counter(
        (shown(person.logon, redaction), redaction.name(phone.device_id), phone.verdict)
        for person in world.people
        for phone in person.phones
    )
    as_json = report_json(report)
    devices = as_json["devices"]
    assert isinstance(devices, list)
    rows = list(csv.DictReader(io.StringIO("".join(report_csv(report.devices)))))
    for said in (devices, rows):
        found = Counter(
            (row["user"], row["device_id"], row["verdict"]) for row in said if row["verdict"]
        )
        assert found == truth
    assert report.target is not None
    kinds = Counter(verdict for *_, verdict in truth.elements())
    assert {c.handover.value: c.devices for c in report.target.counts if c.devices} == kinds
    owners: dict[str, set[str]] = {}
    for user, _, verdict in truth:
        owners.setdefault(verdict, set()).add(user)
    assert {c.handover.value: c.users for c in report.target.counts if c.users} == {
        verdict: len(some) for verdict, some in owners.items()
    }
    page = listed(report_page(report))
    for user, device, verdict in truth.elements():
        there = (user, device) in page.get(verdict, set())
        assert there is (verdict not in ("confirmed", "elsewhere_already"))


def shown(logon: str, redaction: Redaction) -> str:
    domain, _, name = logon.rpartition("\\")
    return f"{domain}\\{redaction.name(name)}" if domain else redaction.name(logon) or ""


def listed(page: str) -> dict[str, set[tuple[str, str]]]:
    """Verdict → users and devices, of the tables below "Who arrived"."""
    titles = {
        "Quarantined / blocked": "quarantined_or_blocked",
        "Still here": "still_here",
        "Asked to sign in": "asked_to_sign_in",
        "Unknown": "unknown",
        "Re-added": "re_added",
    }
    found: dict[str, set[tuple[str, str]]] = {}
    tables = r"<caption>([^<]*)</caption>.*?<tbody>(.*?)</tbody>"
    for title, body in re.findall(tables, page, re.DOTALL):
        if title in titles:
            cells = re.findall(r"<tr[^>]*><td[^>]*>(.*?)</td>\s*<td[^>]*>(.*?)</td>", body)
            rows = {(html.unescape(user), html.unescape(device)) for user, device in cells}
            found.setdefault(titles[title], set()).update(rows)
    return found


@pytest.mark.parametrize("users", ["clear", "hash"])
@settings(max_examples=12, deadline=None)
@given(world=worlds())
def test_the_certificates_counts_add_up_to_all_users(
    tmp_path_factory: pytest.TempPathFactory, users: str, world: World
) -> None:
    redaction = Redaction(users="hash", key=b"k" * 32) if users == "hash" else Redaction()
    report = reported(world, tmp_path_factory.mktemp("world"), redaction)
    meant = [person for person in world.people if person.on_the_list]
    accounts = directory(world, of_rows=True)
    found = certify(report, [person.address for person in meant], accounts, redaction)
    truth: dict[str, list[str]] = {}
    for person in meant:
        truth.setdefault(person.group, []).append(person.address)
    assert {name: sorted(some) for name, some in found.groups.items()} == {
        name: sorted(some) for name, some in truth.items()
    }
    assert found.users == len(meant)
    lost_lately = world.lost_s is not None and END - world.lost_s < 7 * DAY
    called_lately = any(phone.fate in SEEN_LATELY for phone in world.phones)
    all_groups = {person.group for person in world.people}  # of callers beyond the list, too
    against = lost_lately or called_lately or bool(AGAINST & all_groups) or not world.phones
    doubt = "unknown" in all_groups
    expected = Outcome.NOT_YET if against else Outcome.NOT_KNOWN if doubt else Outcome.MAY_GO
    assert found.outcome is expected
    callers_beyond = sum(1 for p in world.people if p.phones and not p.on_the_list)
    assert any("who are not on the list" in said for said in found.not_known) is bool(
        callers_beyond
    )
    assert any("were lost" in said for said in found.not_known) is (world.lost_s is not None)
    page = render_certificate(found, report, [("eas.jsonl", "0" * 64)])
    assert expected.value in page
    figures = re.findall(r'<td class="number"[^>]*>(\d+)</td>', page)
    assert sum(map(int, figures[:-1])) == int(figures[-1]) == len(meant)
