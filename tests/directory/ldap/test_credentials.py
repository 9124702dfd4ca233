"""Passwords: read each time, kept nowhere, tried by one thread first; refused ones are left."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eas_redirect.directory.ldap.credentials import HOLD_S, HOLD_WRONG_S, PROVEN_S, BindCredentials
from eas_redirect.directory.ldap.faults import Fault, refused_bind
from eas_redirect.directory.values import DirectorySettings
from tests.directory.fakes import Clock

SECRET = "bind-Passw0rd-of-the-proxy"
WRONG = refused_bind("invalidCredentials", "80090308: LdapErr: DSID-0C090447, data 52e, v2580")
EXPIRED = refused_bind("invalidCredentials", "80090308: LdapErr: DSID-0C090447, data 532, v2580")


def settings(**changes: str | None) -> DirectorySettings:
    return DirectorySettings(
        servers=("ldaps://dc1",),
        bind_user=changes.get("bind_user", "eas@contoso.example"),
        password_file=changes.get("password_file"),
        password_env=changes.get("password_env"),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nwhat stands below\n"], ids=repr)
def test_the_first_line_of_the_file(tmp_path: Path, end: str, encoding: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(f"{SECRET}{end}".encode(encoding))
    assert BindCredentials(settings(password_file=str(file))).password() == SECRET


def test_a_file_that_is_no_text_is_no_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"P\xe4ssword\n")
    with pytest.raises(Fault, match="is not UTF-8") as caught:
        BindCredentials(settings(password_file=str(file))).password()
    assert (caught.value.error_type, caught.value.scope) == ("no_password", "account")


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAS_TEST_PASSWORD", SECRET)
    assert BindCredentials(settings(password_env="EAS_TEST_PASSWORD")).password() == SECRET


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "neither directory.password_file nor directory.password_env"),
        ({"bind_user": None, "password_env": "HOME"}, "directory.bind_user is not set"),
        ({"password_file": "/nowhere"}, "(/nowhere) cannot be read: No such file or directory"),
        ({"password_env": "EAS_TEST_UNSET"}, "EAS_TEST_UNSET (directory.password_env) holds no"),
    ],
)
def test_without_a_password_it_says_what_to_do(changes: dict[str, str | None], says: str) -> None:
    with pytest.raises(Fault) as caught:
        BindCredentials(settings(**changes)).password()
    assert says in caught.value.message
    assert (caught.value.error_type, caught.value.scope) == ("no_password", "account")


@pytest.mark.parametrize(
    ("fault", "hold"), [(WRONG, HOLD_WRONG_S), (EXPIRED, HOLD_S)], ids=["wrong", "expired"]
)
def test_a_refused_password_is_left_alone_until_it_changes(
    tmp_path: Path, fault: Fault, hold: float
) -> None:
    clock, file = Clock(), tmp_path / "password"
    file.write_text("old")
    credentials = BindCredentials(settings(password_file=str(file)), clock)
    credentials.refused(credentials.password(), fault)
    clock.now += hold - 0.001
    with pytest.raises(Fault) as caught:
        credentials.password()
    assert caught.value.message == fault.message
    file.write_text("new")
    assert credentials.password() == "new"
    file.write_text("old")
    clock.now += 0.001
    assert credentials.password() == "old"
    credentials.refused("old", fault)
    credentials.accepted("old")
    assert credentials.password() == "old"


def test_a_password_that_nobody_has_tried_is_tried_by_one_thread_alone() -> None:
    """Whatever number of threads connects at once, a wrong one costs one try of the lock-out."""
    credentials = BindCredentials(settings())
    at_once = threading.Barrier(8)
    tried: list[int] = []

    def bind(thread: int) -> Fault:
        at_once.wait(30)
        try:
            with credentials.trying(SECRET, 30):
                tried.append(thread)
                credentials.refused(SECRET, WRONG)
                raise WRONG.copied()
        except Fault as fault:
            return fault

    with ThreadPoolExecutor(8) as threads:
        faults = list(threads.map(bind, range(8)))
    assert len(tried) == 1
    assert {fault.message for fault in faults} == {WRONG.message}


def test_whoever_waits_for_another_thread_s_bind_waits_no_longer_than_he_may() -> None:
    credentials = BindCredentials(settings())
    with (
        credentials.trying(SECRET, 1),
        ThreadPoolExecutor(1) as threads,
        pytest.raises(Fault) as caught,
    ):
        threads.submit(_try, credentials, 0.01).result(30)
    assert caught.value.error_type == "timeout"
    _try(credentials, 0.01)  # a bind that ended without an answer holds up nobody


def test_a_proven_password_is_used_by_all_at_once_for_a_while() -> None:
    clock = Clock()
    credentials = BindCredentials(settings(), clock)
    credentials.accepted(SECRET)
    clock.now += PROVEN_S - 0.001
    with credentials.trying(SECRET, 1), ThreadPoolExecutor(1) as threads:
        threads.submit(_try, credentials, 0.01).result(30)
    clock.now += 0.001
    with (
        credentials.trying(SECRET, 1),
        ThreadPoolExecutor(1) as threads,
        pytest.raises(Fault, match="another bind"),
    ):
        threads.submit(_try, credentials, 0.01).result(30)


def test_another_password_than_the_proven_one_is_tried_by_one_thread_alone() -> None:
    """As after a rotation."""
    credentials = BindCredentials(settings())
    credentials.accepted("the old one")
    with (
        credentials.trying(SECRET, 1),
        ThreadPoolExecutor(1) as threads,
        pytest.raises(Fault, match="another bind"),
    ):
        threads.submit(_try, credentials, 0.01).result(30)


def _try(credentials: BindCredentials, patience_s: float) -> None:
    with credentials.trying(SECRET, patience_s):
        pass
