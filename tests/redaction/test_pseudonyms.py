"""What was taken out is known again, in whatever it stands; what is in every capture is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.host_name import is_inner_name
from eas_redirect.policy.exchange_online import host_map
from eas_redirect.redaction.forms import filled
from eas_redirect.redaction.pseudonyms import Pseudonyms, Taken, runs
from tests.redaction.test_redact_head import names


@pytest.mark.parametrize(
    ("text", "searched"),
    [
        ("3141592653", True),
        ("+49 30 1234567", False),
        ("08:15:30 2026", False),
        ("Passw0rd", True),
        ("12345", False),
        ("00000000", False),
    ],
)
def test_numbers_are_searched_for_where_they_tell_something(text: str, searched: bool) -> None:
    assert any(runs(text)) is searched


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("Lunch with the auditors", True),
        ("... WITH THE AUDITORS!", True),
        ("with the others", False),
        ("the auditors", False),
        ("", False),
        ("hunter2-Basic", False),
        ("hunter2-Basic-Passw0rd", True),
        ("xhunter2-Basic-Passw0rd", False),
        ("FolderSync", False),
        ("Mailbox moved", False),
    ],
)
def test_what_was_taken_is_known_again(text: str, held: bool) -> None:
    taken = Taken()
    taken.take_prose("Lunch with the auditors")
    for secret in ("hunter2-Basic-Passw0rd", "FolderSync", "mailbox moved"):
        taken.take(secret)
    assert taken.holds(text) is held


def test_of_very_much_prose_a_sample_is_known_and_every_secret() -> None:
    taken = Taken(max_prose=100)
    words = " ".join(f"{letter}telling" for letter in "abcdefghijklmnopqrstuvwxyz")
    for number in range(100):
        taken.take_prose(f"number{number}x {words}")
        taken.take(f"password{number}x")
    assert taken.holds("number0x atelling btelling")
    assert taken.holds("number9x atelling btelling")  # the first words of a later one
    assert not taken.holds("number99x atelling btelling")
    assert all(taken.holds(f"password{number}x") for number in range(100))


@given(st.text(), st.text())
def test_what_holds_a_text_holds_what_was_taken_of_it(text: str, other: str) -> None:
    taken = Taken()
    taken.take(text)
    if set(runs(text)):
        assert taken.holds(f"{other} {text}!{other}")


@given(st.text())
def test_stand_ins_are_as_long_and_the_same_each_time(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    once, again = names().name(text), names().name(text)
    assert once == again
    assert len(once.encode()) == len(filled(text).encode()) == len(text.encode())


def test_words_are_the_same_wherever_they_stand() -> None:
    pseudonyms = names()
    user, domain = pseudonyms.name("CONTOSO\\anna").split("\\")[::-1]
    assert pseudonyms.name("anna@mail.contoso").startswith(f"{user}@")
    assert pseudonyms.name("Contoso").lower() == domain.lower()
    assert Pseudonyms().name("anna") != user


@pytest.mark.parametrize("host", ["localhost", *host_map()])
def test_public_hosts_stay(host: str) -> None:
    assert names().host(host) == host


def test_a_name_of_an_inner_network_stays_one() -> None:
    """So that `explain` says the same of a redacted capture."""
    names = Pseudonyms()
    clean = names.host("EX2016.contoso.local:444")
    assert is_inner_name(clean.partition(":")[0])
    assert clean.endswith(".local:444")
    assert "contoso" not in clean.lower()
    assert "." not in names.host("ex2016")
    assert not is_inner_name(names.host("mail.contoso.example"))


def test_no_short_word_stands_for_itself() -> None:
    """It would be found again, and the file be removed."""
    for key in range(40):
        names = Pseudonyms(bytes([key]))
        for word in ("s", "S", "q", "bt", "mx"):
            assert names.name(word) != word, key
