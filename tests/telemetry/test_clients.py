"""Client families: the table of real User-Agents, and any text at all."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.report.readiness import readiness_of
from eas_redirect.telemetry import clients
from tests.support import DATA

TABLE = (DATA / "clients.tsv").read_text("utf-8").splitlines()
ROWS = list(csv.DictReader(TABLE, delimiter="\t"))


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["user_agent"] or r["device_type"])
def test_known_client(row: dict[str, str]) -> None:
    client = clients.client_of(row["user_agent"] or None, row["device_type"])
    found = client and {
        "family": client.family.name,
        "os_version": client.os_version or "",
        "speaks": client.speaks or "",
        "sign_in": client.sign_in or "",
    }
    expected = {key: row[key] or "" for key in ("family", "os_version", "speaks", "sign_in")}
    assert found == (expected if row["family"] else None)


@given(st.none() | st.text(max_size=2000), st.none() | st.text(max_size=200))
def test_any_text_is_a_known_family_or_none(
    user_agent: str | None, device_type: str | None
) -> None:
    names = {row.name for row in clients.client_families()}
    assert clients.client_family(user_agent, device_type) in names | {None}


def test_absurd_numbers_do_not_raise() -> None:
    client = clients.client_of("iOS/" + "9" * 400 + " exchangesyncd", None)
    assert client is not None
    assert client.speaks == "16.1"


def test_each_row_names_its_source_and_once() -> None:
    rows = clients.client_families()
    assert all(row.source.startswith("https://") for row in rows)
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.user_agent or row.device_type for row in rows)


def test_a_family_is_found_by_name() -> None:
    assert (row := clients.family("gmail")) is not None
    assert row.title == "Gmail (Android)"
    assert clients.family("nobody") is None


PAIRS = list(
    csv.DictReader((DATA / "user-agents.tsv").read_text("utf-8").splitlines(), delimiter="\t")
)


def test_user_agents_and_device_types_of_public_lists() -> None:
    wrong = {}
    for row in PAIRS:
        found = clients.client_family(row["user_agent"] or None, row["device_type"] or None)
        if found != (row["family"] or None):
            wrong[row["user_agent"], row["device_type"]] = (found, row["family"])
    assert wrong == {}


def test_the_list_is_long_and_knows_every_family() -> None:
    assert len({(row["user_agent"], row["device_type"]) for row in PAIRS}) >= 250
    assert {row["family"] for row in PAIRS} - {""} == {
        row.name for row in clients.client_families()
    }


@pytest.mark.parametrize("version", ["4.4.2", "IceCreamSandwich", "", "MIUI_V5", "Eng. build", "R"])
@pytest.mark.parametrize(
    ("form", "family"), [("Android/{}-EAS-1.3", "android_email"), ("Android/{}-EAS-2.0", "gmail")]
)
def test_whatever_stands_for_the_version(version: str, form: str, family: str) -> None:
    assert clients.client_family(form.format(version), "Android") == family


# At Exchange Online: what may be said of a family when nothing but its name is known.
VERDICTS = {
    "refused": {
        *("android_email", "windows_mail", "windows_phone", "windows_mobile", "outlook_desktop"),
        *("blackberry_10", "tbsync", "touchdown", "nokia", "palm", "roadsync"),
    },
    "asked_to_sign_in": {"outlook_mobile"},
    "unknown": {
        *("exchange_probe", "monitor", "apple_mail", "samsung_email", "gmail", "android_other"),
        *("windows_10_mail", "blackberry_work", "nine", "boxer", "managed_mail", "mail_app"),
    },
}


def test_every_family_has_its_readiness() -> None:
    found: dict[str, set[str]] = {}
    for row in clients.client_families():
        readiness = readiness_of(clients.Client(family=row), host="outlook.office365.com")
        assert row.title in readiness.rule
        assert readiness.source.startswith("https://")
        found.setdefault(readiness.verdict.value, set()).add(row.name)
    assert found == VERDICTS
