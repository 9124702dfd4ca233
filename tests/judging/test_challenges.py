"""Which servers ask for a logon: learnt from their 401s, forgotten after 15 minutes, shared."""

from pathlib import Path

import pytest

from eas_redirect.activesync.authorization import Credentials, Scheme
from eas_redirect.judging.challenges import KNOWN_S, MAX_SERVERS, Challenges

SERVER = "ex07.contoso.example:443"
NOTHING = Credentials(scheme="none")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_401_to_a_request_without_a_logon_is_known_for_15_minutes() -> None:
    clock = Clock()
    challenges = Challenges(clock=clock)
    assert not challenges.known(SERVER)
    challenges.answered(SERVER, NOTHING, 401)
    clock.now += KNOWN_S
    assert challenges.known(SERVER)
    assert not challenges.known("other.contoso.example:443")
    clock.now += 1
    assert not challenges.known(SERVER)


@pytest.mark.parametrize(
    ("scheme", "status"),
    [("none", 200), ("none", 403), ("none", 451), ("basic", 401), ("ntlm", 401), ("other", 401)],
)
def test_nothing_else_says_so(scheme: Scheme, status: int) -> None:
    """A front that refuses everybody, a wrong password, a first leg of NTLM."""
    challenges = Challenges()
    challenges.answered(SERVER, Credentials(scheme=scheme), status)
    assert not challenges.known(SERVER)


def test_workers_share_what_one_has_met(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (Challenges(tmp_path, clock) for _ in range(2))
    assert not other.known(SERVER)
    one.met(SERVER)
    clock.now += 2
    assert other.known(SERVER)
    assert Challenges(tmp_path, clock).known(SERVER), "a worker that was started again"
    clock.now += KNOWN_S
    assert not other.known(SERVER)


@pytest.mark.parametrize("text", ["", "x", "x y", "1e400 ", "nan ex07.contoso.example:443", "\0"])
def test_a_file_that_makes_no_sense_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "challenge").write_text(text)
    assert not Challenges(tmp_path, Clock()).known(SERVER)


def test_a_folder_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    challenges = Challenges(tmp_path / "gone")
    challenges.met(SERVER)
    assert challenges.known(SERVER)


def test_servers_without_end_are_bounded() -> None:
    challenges = Challenges()
    for number in range(10 * MAX_SERVERS):
        challenges.met(f"{number}.example:443")
    assert len(challenges) == MAX_SERVERS
    assert not challenges.known("0.example:443")


def test_a_server_that_was_met_again_outlasts_the_others() -> None:
    challenges = Challenges()
    for number in (*range(MAX_SERVERS), 0, MAX_SERVERS):
        challenges.met(f"{number}.example:443")
    assert challenges.known("0.example:443")
    assert not challenges.known("1.example:443")


def test_the_shared_file_is_read_each_second_and_written_each_minute(tmp_path: Path) -> None:
    """However many answers come."""
    clock = Clock()
    one, other = (Challenges(tmp_path, clock) for _ in range(2))
    assert not other.known(SERVER)
    one.met(SERVER)
    written = (tmp_path / "challenge").read_text()
    clock.now += 0.5
    assert not other.known(SERVER)
    clock.now += 0.5
    assert other.known(SERVER)
    clock.now += 58.5
    one.met(SERVER)
    assert (tmp_path / "challenge").read_text() == written
    clock.now += 0.5
    one.met(SERVER)
    assert (tmp_path / "challenge").read_text() != written
