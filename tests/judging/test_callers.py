"""What proxies in front say is believed from trusted peers only, as far as they vouch."""

from ipaddress import ip_network

import pytest

from eas_redirect.judging import callers
from eas_redirect.judging.callers import device_address, forwarded_address, forwarded_names
from tests.policy.builders import exchange

TRUSTED = tuple(ip_network(n) for n in ("10.0.0.0/8", "2001:db8:1::/48"))


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.1, 192.0.2.7", "10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["192.0.2.7:4711"], "192.0.2.7"),
        ("10.0.0.1", ["[2001:db8::7]:443"], "2001:db8::7"),
        ("10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("2001:db8:1::5", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.7, unknown"], None),
        ("10.0.0.1", ["<script>"], None),
        ("10.0.0.1", [], None),
        ("192.0.2.9", ["192.0.2.7"], None),
        (None, ["192.0.2.7"], None),
    ],
)
def test_the_client_is_the_first_hop_from_the_right_that_is_no_trusted_proxy(
    peer: str | None, values: list[str], client: str | None
) -> None:
    assert forwarded_address(peer, values, TRUSTED) == client


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        ("192.0.2.9", [], "192.0.2.9"),
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", [], None),
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["192.0.2.7, unknown, 10.0.0.2"], None),
        (None, ["192.0.2.7"], None),
    ],
)
def test_the_address_of_a_trusted_proxy_is_nobody_s(
    peer: str | None, values: list[str], client: str | None
) -> None:
    assert device_address(peer, values, TRUSTED) == client
    assert device_address(peer, [], ()) == peer


def test_who_speaks_of_an_address_and_is_not_trusted_may_be_a_proxy() -> None:
    """One that trusted_proxies forgets: its own address says nothing about the device."""
    for trusted in (TRUSTED, ()):
        assert device_address("192.0.2.9", ["198.51.100.1"], trusted) is None
        assert device_address("192.0.2.9", ["unknown"], trusted) is None
        assert device_address("192.0.2.9", ["", " "], trusted) == "192.0.2.9"


@pytest.mark.parametrize(
    ("headers", "forwarded", "names"),
    [
        (["mail.contoso.example"], [], ("mail.contoso.example",)),
        (["Mail.Contoso.Example:443"], [], ("mail.contoso.example",)),
        (["a.example, b.example", "c.example"], [], ("a.example", "b.example", "c.example")),
        ([], ["for=192.0.2.7;host=mail.contoso.example;proto=https"], ("mail.contoso.example",)),
        ([], ['Host="mail.contoso.example:443"'], ("mail.contoso.example",)),
        ([], ["for=192.0.2.7, for=10.0.0.3; host = a.example"], ("a.example",)),
        (["a.example"], ["host=a.example"], ("a.example",)),
        (["<script>", "", "a b"], ["host="], ()),
        ([], ["for=192.0.2.7;byhost=a.example"], ()),
    ],
)
def test_names_that_a_trusted_proxy_tells(
    headers: list[str], forwarded: list[str], names: tuple[str, ...]
) -> None:
    assert forwarded_names("10.0.0.1", headers, forwarded, TRUSTED) == names
    for stranger in ("192.0.2.9", None):
        assert forwarded_names(stranger, headers, forwarded, TRUSTED) == ()
    assert forwarded_names("10.0.0.1", headers, forwarded, ()) == ()


def test_names_without_end_are_bounded() -> None:
    told = [",".join(f"n{number}.example" for number in range(1000))]
    assert len(forwarded_names("10.0.0.1", told, [], TRUSTED)) == 16


def test_an_authority_of_the_greatest_length_has_a_host() -> None:
    longest = "a" * callers.MAX_AUTHORITY
    assert callers.bare_host(longest) == longest


@pytest.mark.parametrize("authority", [None, "", "a" * (callers.MAX_AUTHORITY + 1)])
def test_what_is_no_authority_has_no_host(authority: str | None) -> None:
    assert callers.bare_host(authority) is None


def test_a_name_counts_where_a_logon_was_let_in_and_the_latest_stay() -> None:
    names = callers.DeviceNames()
    names.learn(exchange(status=401), ["refused.example"])
    names.learn(exchange(source="query"), ["said.example"])
    assert names() == ()
    names.learn(exchange(), ["one.example", "two.example"])
    names.learn(exchange(), ["one.example"])
    assert names() == ("two.example", "one.example")
    names.learn(exchange(), [f"{number}.example" for number in range(callers.MAX_CALLED)])
    assert len(names()) == callers.MAX_CALLED
    assert names()[0] == "0.example"
