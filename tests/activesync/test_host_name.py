"""One form for every host name, and nothing that two readers read differently."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.host_name import (
    HostNameError,
    is_inner_name,
    normalize_domain,
    normalize_host,
    same_host,
)

LONGEST = ".".join(["a" * 62, "b" * 63, "c" * 63, "d" * 62])  # 253 characters


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("mail", "mail"),
        ("Mail.Contoso.Example", "mail.contoso.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("XN--Bcher-KVA.example", "xn--bcher-kva.example"),
        ("3com.example", "3com.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("büro-mail.example", "xn--bro-mail-65a.example"),
        ("bücher3.example", "xn--bcher3-3ya.example"),
        ("한漢.example", "xn--hext49s.example"),
        ("३४.example", "xn--g4bc.example"),  # digits that Latin has not, and nothing else
        ("a" * 63, "a" * 63),
        (LONGEST, LONGEST),
    ],
)
def test_the_form_in_which_names_are_compared(text: str, host: str) -> None:
    assert normalize_host(text) == host


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("mail.", "dot"),
        ("a..b", "empty label"),
        ("192.0.2.1", "IP address"),
        ("a.0x1f", "IP address"),
        ("a_b.example", "letters, digits"),
        ("-a.example", "letters, digits"),
        ("straße.example", "IDNA"),
        ("xn--a.example", "no letter"),
        ("xn--mail-.example", "letters, digits"),
        ("xn--99999999.example", "A-label"),
        ("ab--c.example", "hyphens"),
        ("xn---r8jz45g.example", "A-label"),  # the delimiter of nothing: two spellings
        ("xn--bucher-xyd.example", "A-label"),  # u and a combining diaeresis
        ("-ü.example", "hyphen"),
        ("ü-.example", "hyphen"),
        ("ab--ü.example", "hyphen"),
        ("\u212aelvin.example", "stand for others"),
        ("İstanbul.example", "stand for others"),
        ("א1.example", "internationalized"),  # RFC 3454 6, requirement 3
        ("оutlook.example", "mixes scripts"),
        ("ü३.example", "mixes scripts"),
        ("а.example", "look like Latin"),
        ("а1.example", "look like Latin"),
        ("a" * 64, "63"),
        (".".join(["abcdefg"] * 32), "253"),
        ("\ud800.example", "no letter"),
    ],
)
def test_what_is_no_host_name_is_refused_with_a_word(text: str, word: str) -> None:
    with pytest.raises(HostNameError, match=word):
        normalize_host(text)


def test_a_name_for_public_dns_has_the_same_form() -> None:
    assert normalize_domain("Mail.Contoso.Example") == "mail.contoso.example"


@pytest.mark.parametrize("text", ["mail", "localhost", "mail.localhost", "192.0.2.1"])
def test_what_cannot_stand_in_public_dns(text: str) -> None:
    with pytest.raises(HostNameError):
        normalize_domain(text)


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("mail.contoso.example", "MAIL.contoso.example.", "same"),
        ("bücher.example", "xn--bcher-kva.example", "same"),
        ("192.0.2.1", "192.0.2.1", "same"),
        ("mail_1.example", "MAIL_1.example", "same"),
        ("mail_1.example", "mail_2.example", "other"),
        (LONGEST, f"{LONGEST}.", "same"),
        ("mail.contoso.example", "mail.contoso.example.evil.example", "other"),
    ],
)
def test_the_same_host(one: str, other: str, verdict: str) -> None:
    assert same_host(one, other) == (verdict == "same")


@given(st.text(max_size=80) | st.from_regex(r"(xn--[a-z0-9-]{1,12}\.){1,2}example", fullmatch=True))
def test_any_text_is_a_stable_ascii_name_or_the_one_error(text: str) -> None:
    try:
        host = normalize_host(text)
    except HostNameError:
        return
    assert host.isascii()
    assert host == host.lower()
    assert normalize_host(host) == host


@pytest.mark.parametrize(
    ("host", "inner"),
    [
        ("ex2016", True),
        ("ex2016.contoso.local", True),
        ("ex2016.corp", True),
        ("10.20.30.40", True),
        ("mail.contoso.example", False),
        ("local.contoso.example", False),
        ("", False),
    ],
)
def test_names_that_only_an_inner_network_knows(host: str, inner: bool) -> None:
    assert is_inner_name(host) == inner
