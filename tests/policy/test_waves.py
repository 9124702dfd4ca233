"""Who is meant: names in every form, the percentage that only grows, devices, networks."""

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.directory.values import Recipient
from eas_redirect.policy.waves import Criteria, Wave, membership, place, user_names
from tests.policy.builders import MOVED, exchange

OFFICE = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


def only(**criteria: object) -> Wave:
    return Wave(only=replace(Criteria(), **criteria))  # type: ignore[arg-type]


def without(**criteria: object) -> Wave:
    return Wave(exclude=replace(Criteria(), **criteria))  # type: ignore[arg-type]


def test_the_default_means_everyone_and_has_no_name() -> None:
    everyone = membership(Wave(), exchange(), MOVED)
    assert everyone.member
    assert Wave().name is None


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("anna@contoso.example", "in"),
        ("ANNA@Contoso.Example ", "in"),
        ("anna.alt@contoso.example", "in"),
        ("SMTP:a.alt@contoso.example", "in"),
        ("anna", "in"),
        ("CONTOSO\\anna", "in"),
        ("contoso.example\\Anna", "in"),
        ("EMEA\\anna", "in"),
        ("FABRIKAM\\anna", "out"),
        ("bert", "out"),
        ("ann", "out"),
        ("anna@fabrikam.example", "out"),
        ("*", "out"),
    ],
)
def test_a_user_by_any_of_its_names(name: str, verdict: str) -> None:
    asked = exchange(who="EMEA\\anna")
    wave = only(users=user_names([name]))
    assert membership(wave, asked, MOVED).member == (verdict == "in")


def test_a_file_of_users() -> None:
    names = user_names(["# pilot", "", "  Anna@contoso.example  ", "  # later", "CONTOSO\\bert"])
    assert names == {"anna@contoso.example", "contoso\\bert"}


def test_an_empty_list_means_nobody() -> None:
    assert not membership(only(users=frozenset()), exchange(), MOVED).member


@pytest.mark.parametrize(
    ("device_type", "globs", "verdict"),
    [
        ("iPhone", ("iphone",), "in"),
        ("iPhone12C1", ("iphone*",), "in"),
        ("SAMSUNG-SM", ("ipad", "samsung*"), "in"),
        ("Outlook", ("iphone*",), "out"),
        (None, ("*",), "out"),
    ],
)
def test_device_types(device_type: str | None, globs: tuple[str, ...], verdict: str) -> None:
    asked = exchange(device_type=device_type)
    assert membership(only(device_types=globs), asked, MOVED).member == (verdict == "in")


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("192.0.2.200", "in"),
        ("::ffff:192.0.2.200", "in"),
        ("2001:db8::7", "in"),
        ("2001:db8::7%eth0", "in"),
        ("198.51.100.1", "out"),
        ("fe80::1", "out"),
        (None, "out"),
        ("unix", "out"),
    ],
)
def test_networks(address: str | None, verdict: str) -> None:
    asked = exchange(client_address=address)
    assert membership(only(networks=OFFICE), asked, MOVED).member == (verdict == "in")


@pytest.mark.parametrize(
    ("wave", "verdict"),
    [
        (without(users=user_names(["anna"])), "out"),
        (without(users=user_names(["bert"])), "in"),
        (without(device_types=("iphone",)), "out"),
        (without(device_types=("android",)), "in"),
        (without(networks=OFFICE), "out"),
        (without(percent=100.0), "out"),
        (without(percent=0.0), "in"),
        (without(users=user_names(["bert"]), device_types=("iphone",)), "out"),
        (replace(only(users=user_names(["anna"])), exclude=Criteria(percent=100.0)), "out"),
    ],
)
def test_exceptions_win(wave: Wave, verdict: str) -> None:
    assert membership(wave, exchange(), MOVED).member == (verdict == "in")


def test_an_unknown_fact_cannot_rule_an_exception_out() -> None:
    """OPTIONS names no device type: it must not redirect a device that is excepted."""
    wave = without(device_types=("android",))
    belongs = membership(wave, exchange(method="OPTIONS", device_type=None), MOVED)
    assert not belongs.member
    assert "names no device type" in belongs.detail


def test_only_wants_every_kind_that_it_names() -> None:
    wave = only(users=user_names(["anna"]), device_types=("ipad",))
    assert not membership(wave, exchange(), MOVED).member
    assert membership(wave, exchange(device_type="iPad"), MOVED).member


@pytest.mark.parametrize(
    ("wave", "name"),
    [
        (only(users=frozenset()), "users"),
        (only(users=frozenset(), percent=10.0), "users+percent:10"),
        (only(percent=2.5), "percent:2.5"),
        (without(percent=10.0), None),
    ],
)
def test_a_wave_has_a_short_name(wave: Wave, name: str | None) -> None:
    assert wave.name == name


def user(number: int) -> Recipient:
    return Recipient(dn="CN=x", user_principal_name=f"User{number}@contoso.example")


def test_a_percentage_is_about_right_and_stays() -> None:
    places = [place(user(n)) for n in range(20_000)]
    assert all(0 <= p < 100 for p in places)
    for percent in (1, 10, 50):
        share = sum(p < percent for p in places) / len(places) * 100
        assert abs(share - percent) < 1
    # The place is for good: a proxy of tomorrow must put this user where today's does.
    assert round(place(user(1)), 6) == PLACE_OF_USER_1


PLACE_OF_USER_1 = 75.798393


@given(st.text(min_size=1, max_size=20), st.floats(0, 100), st.floats(0, 100))
def test_raising_a_percentage_only_adds_users(name: str, one: float, other: float) -> None:
    recipient = Recipient(dn="CN=x", user_principal_name=name)
    low, high = sorted((one, other))
    asked = exchange()
    if membership(only(percent=low), asked, recipient).member:
        assert membership(only(percent=high), asked, recipient).member


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"user_principal_name": "ANNA@contoso.example"},
            {"user_principal_name": "anna@contoso.example"},
        ),
        (
            {"user_principal_name": "anna@contoso.example", "mail": "a@contoso.example"},
            {"user_principal_name": "anna@contoso.example", "sam_account_name": "anna"},
        ),
        ({"mail": "a@contoso.example", "sam_account_name": "x"}, {"mail": "A@contoso.example"}),
    ],
)
def test_a_place_hangs_on_one_name(one: dict[str, str], other: dict[str, str]) -> None:
    first = Recipient(dn="CN=1", **one)  # type: ignore[arg-type]
    assert place(first) == place(Recipient(dn="CN=2", **other))  # type: ignore[arg-type]
