"""`host:port` and URLs of servers: one reader, whose errors never repeat what they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.host_port import (
    HostPort,
    HostPortError,
    UnbracketedError,
    read_host_port,
    read_server_url,
)

PORTS = {"http": 80, "https": 443}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("mail.contoso.example:8443", "mail.contoso.example", 8443),
        ("10.0.0.5:0", "10.0.0.5", 0),
        (":65535", "", 65535),
        ("[::1]:443", "::1", 443),
        ("[FE80::1%eth0]:443", "FE80::1%eth0", 443),
        ("bücher.example:1", "bücher.example", 1),
    ],
)
def test_host_and_port(text: str, host: str, port: int) -> None:
    assert read_host_port(text) == (host, port)
    assert str(read_host_port(text)) == text


@pytest.mark.parametrize(("text", "host"), [("mail", "mail"), ("[::1]", "::1"), ("", "")])
def test_a_port_may_go_without_saying(text: str, host: str) -> None:
    assert read_host_port(text, 25) == HostPort(host, 25)
    with pytest.raises(HostPortError, match="names no port"):
        read_host_port(text)


@pytest.mark.parametrize("text", ["::1", "::1:443", "2001:db8::7", "fe80::1%eth0"])
def test_an_address_without_brackets_is_told_from_other_mistakes(text: str) -> None:
    with pytest.raises(UnbracketedError, match=r"in brackets, as in \[::1\]:443"):
        read_host_port(text, 443)


@pytest.mark.parametrize("text", ["h:x", "a b", "[::1", "[::1]443", "[h]:1"])
def test_brackets_are_advised_only_where_they_are_missing(text: str) -> None:
    with pytest.raises(HostPortError, match=r"is not host:port") as caught:
        read_host_port(text, 443)
    assert not isinstance(caught.value, UnbracketedError)


@pytest.mark.parametrize(
    "text",
    [
        *("h:", "h:x", "h:-1", "h:+1", "h: 1", "h:1 ", " h:1", "h:65536", "h:123456", "h:٣"),
        *(
            "[::1]443",
            "[::1",
            "::1]:1",
            "[h]:1",
            "[]:1",
            "[::1]:",
            "a b:1",
            "a/b:1",
            "h:1/",
            "h:1?",
        ),
        *("u@h:1", "u:secret@h:1", "h\\:1", "h:1\n", "h:1:2", "h\0:1", "h\u200b:1"),
    ],
)
def test_what_is_no_host_and_port(text: str) -> None:
    with pytest.raises(HostPortError) as caught:
        read_host_port(text, 443)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "scheme", "address"),
    [
        ("https://ex07.contoso.local", "https", ("ex07.contoso.local", 443)),
        ("HTTP://ex07/", "http", ("ex07", 80)),
        ("https://[::1]:8443/", "https", ("::1", 8443)),
    ],
)
def test_urls_of_servers(text: str, scheme: str, address: tuple[str, int]) -> None:
    found = read_server_url(text, PORTS)
    assert (found.scheme, found.address) == (scheme, address)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "ex07",
            "//ex07",
            "ftp://ex07",
            "https:/ex07",
            "https://",
            "https://:443",
            "https:///",
        ),
        *(
            "https://ex07:0",
            "https://ex07:x",
            "https://ex07//",
            "https://ex07/owa",
            "https://ex07?a",
        ),
        *("https://ex07#a", "https://user:secret@ex07", "https://ex 07", "https://ex07\\owa"),
    ],
)
def test_what_is_no_url_of_a_server(text: str) -> None:
    with pytest.raises(HostPortError) as caught:
        read_server_url(text, PORTS)
    assert "secret" not in str(caught.value)


def test_a_scheme_alone_is_told_what_a_url_begins_with() -> None:
    with pytest.raises(HostPortError, match="does not begin with http:// or https://"):
        read_server_url("https", PORTS)


@given(st.text() | st.from_regex(r"\A[a-z.\[\]:/@0-9]{0,12}\Z"))
def test_whatever_is_read_is_written_alike_and_read_again(text: str) -> None:
    """Or refused, by the one error."""
    try:
        found = read_host_port(text, 443)
    except HostPortError:
        return
    assert read_host_port(str(found)) == found
    assert 0 <= found.port <= 65535
    assert not set("/@[]\\ \n").intersection(found.host)
