"""X-Forwarded-For is believed from trusted peers only, and only as far as they vouch."""

from ipaddress import ip_network

import pytest

from eas_redirect.proxy.forwarded import device_address, forwarded_address

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
        ("10.0.0.1", ["192.0.2.7, unknown, 10.0.0.2"], None),
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["_hidden, 10.0.0.2"], None),
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
    ("peer", "values", "device"),
    [
        ("192.0.2.9", [], "192.0.2.9"),
        ("192.0.2.9", ["198.51.100.1"], "192.0.2.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.1.2.3"], "10.1.2.3"),
        ("10.0.0.1", [], None),
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["unknown, 10.0.0.2"], None),
        (None, ["198.51.100.1"], None),
    ],
)
def test_a_trusted_proxy_is_never_taken_for_the_device(
    peer: str | None, values: list[str], device: str | None
) -> None:
    assert device_address(peer, values, TRUSTED) == device
