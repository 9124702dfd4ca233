"""Addresses and URLs as people write them."""

import pytest

from eas_redirect.configuration.kinds import Listen, parse_upstream


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("443", Listen("", 443)),
        ("0", Listen("", 0)),
        (":8443", Listen("", 8443)),
        ("10.0.0.5:443", Listen("10.0.0.5", 443)),
        ("mail.contoso.example:443", Listen("mail.contoso.example", 443)),
        ("[::1]:443", Listen("::1", 443)),
    ],
)
def test_listen(text: str, expected: Listen) -> None:
    assert Listen.parse(text) == expected


@pytest.mark.parametrize("text", ["", "x", "host:", "::1:443", "1:65536", "host:-1", "٤٤٣"])
def test_listen_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a port|in brackets"):
        Listen.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ex07.contoso.local", "https://ex07.contoso.local"),
        ("https://ex07.contoso.local/", "https://ex07.contoso.local"),
        ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
        ("https://[fd00::7]:443", "https://[fd00::7]:443"),
    ],
)
def test_upstream(text: str, expected: str) -> None:
    assert parse_upstream(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ex07",
        "ftp://ex07",
        "https://",
        "https://ex07/owa",
        "https://u:p@ex07",
        "https://ex07?x=1",
        "https://ex07:99999",
        "https://[::1",
    ],
)
def test_upstream_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be the URL of the old Exchange"):
        parse_upstream(text)
