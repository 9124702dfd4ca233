"""Which version of a snapshot's file is in force: none that is half written, cut or much less."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from eas_redirect.directory import adoption
from eas_redirect.directory.adoption import (
    AGAIN_S,
    SETTLE_S,
    Extent,
    HeldBack,
    SnapshotFile,
    accept,
    acceptance,
    is_accepted,
)
from eas_redirect.directory.snapshot import Snapshot, SnapshotError, file_bytes
from eas_redirect.directory.values import (
    Ambiguous,
    DirectoryAnswer,
    Found,
    MovedAnswer,
    RelationshipsAnswer,
    Unavailable,
)
from tests.directory.fakes import Clock
from tests.directory.logons import logon

RELATIONSHIP = """\
dn: CN=O365,CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=x
objectClass: msExchFedSharingRelationship
msExchFedDomainNames: cloud.example
msExchFedDomainNames: second.example

"""


def people(count: int, domain: str = "DC=contoso,DC=example") -> str:
    return "".join(
        f"dn: CN=u{n},{domain}\nobjectClass: user\nsAMAccountName: u{n}\n\n" for n in range(count)
    )


WHOLE = RELATIONSHIP + people(20)


class Bench:
    """A file, and a proxy's view of it, with a clock turned by hand."""

    def __init__(self, tmp_path: Path, memory: Path | None = None) -> None:
        self.path = tmp_path / "forest.ldif"
        self.clock = Clock()
        self.clock.now = 1_800_000_000.0
        self.memory = memory
        self.file = self.another()

    def another(self) -> SnapshotFile:
        return SnapshotFile(self.path, memory=self.memory, clock=self.clock, sleep=self.clock.sleep)

    def write(self, text: str, *, age_s: float = 60.0) -> None:
        """Beside it, then renamed; as of `age_s` ago."""
        new = self.path.with_suffix(".new")
        new.write_text(text, "utf-8")
        os.utime(new, (self.clock.now - age_s,) * 2)
        new.replace(self.path)

    def looks(self, text: str, **options: float) -> str | None:
        """What is said after another version was written; None when it was adopted."""
        self.write(text, **options)
        self.file.look()
        return self.file.problem


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.write(WHOLE)
    assert isinstance(made.file.open(), Snapshot)
    return made


def test_a_whole_file_is_adopted_once(bench: Bench) -> None:
    assert bench.file.look() is None
    bench.write(RELATIONSHIP + people(21))
    newer = bench.file.look()
    assert newer is not None
    assert len(newer) == 21
    assert bench.file.look() is None
    assert bench.file.problem is None


def test_a_file_that_changes_is_left_alone_until_it_stands_still(bench: Bench) -> None:
    for n in range(10):
        bench.write(RELATIONSHIP + people(21 + n), age_s=0)
        assert bench.file.look() is None
        bench.clock.now += SETTLE_S / 2
    assert bench.file.look() is None
    bench.clock.now += SETTLE_S / 2
    newer = bench.file.look()
    assert newer is not None
    assert len(newer) == 30


def test_a_file_server_with_a_wrong_clock_counts_by_what_we_see(bench: Bench) -> None:
    bench.write(RELATIONSHIP + people(21), age_s=-9999)
    assert bench.file.look() is None
    bench.clock.now += SETTLE_S
    assert bench.file.look() is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no entry could be read"),
        ("# extended LDIF\n#\n", "no entry could be read"),
        ("hello\n", "no colon"),
        (WHOLE.rstrip("\n"), "no blank line"),
        (WHOLE + "dn: CN=u99,DC=con", "no blank line"),
        (WHOLE + "# search result\nresult: 4 Size limit exceeded\n\n", "result 4"),
        (WHOLE + "# pagedresults: cookie=AQ==\n\n", "further page"),
        (people(20), "lost the relationship cn=o365"),
        (RELATIONSHIP.replace("second", "third") + people(20), "lost the domain second.example"),
        (RELATIONSHIP + people(20, "DC=other,DC=example"), "lost the domain dc=contoso,dc=example"),
        (RELATIONSHIP + people(17), "only 17 recipients of 20"),
        (RELATIONSHIP.replace("Names: ", "Names;range=0-1: ") + people(17), "only 17 recipients"),
        (RELATIONSHIP.replace("Names: ", "Names;range=0-1: ") + people(20), "part of its domains"),
    ],
)
def test_what_is_not_adopted(bench: Bench, text: str, says: str) -> None:
    assert says in (bench.looks(text) or "")
    assert bench.file.look() is None
    assert bench.looks(WHOLE) is None, "the version in force is back"
    assert bench.looks(RELATIONSHIP + people(18)) is None, "a tenth fewer is nothing"


def test_a_file_that_is_gone_leaves_the_last_one_in_force(bench: Bench) -> None:
    bench.path.unlink()
    assert bench.file.look() is None
    assert "is gone" in (bench.file.problem or "")
    assert bench.looks(WHOLE) is None


def test_the_version_in_force_that_was_away_for_a_moment_is_not_adopted_again(
    bench: Bench,
) -> None:
    """On a file server whose clock is ahead it must stand still first: renaming changes it."""
    bench.write(RELATIONSHIP + people(21), age_s=-9999)
    bench.file.look()
    bench.clock.now += SETTLE_S
    assert bench.file.look() is not None
    away = bench.path.with_suffix(".away")
    bench.path.rename(away)
    assert bench.file.look() is None
    assert bench.file.problem is not None
    away.rename(bench.path)
    assert bench.file.look() is None
    bench.clock.now += SETTLE_S
    assert bench.file.look() is None, "read, and the same"
    assert bench.file.problem is None


def test_what_has_lost_much_is_adopted_when_it_was_read_twice_an_hour_apart(bench: Bench) -> None:
    assert "only 5 recipients" in (bench.looks(RELATIONSHIP + people(5)) or "")
    bench.clock.now += AGAIN_S - 1
    assert bench.file.look() is None
    bench.clock.now += 1
    newer = bench.file.look()
    assert newer is not None
    assert len(newer) == 5
    assert bench.file.problem is None


def test_what_is_held_back_is_read_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file every few seconds for an hour would be a load of its own."""
    read: list[Path] = []

    def counted(path: Path) -> bytes:
        read.append(path)
        return file_bytes(path)

    monkeypatch.setattr(adoption, "file_bytes", counted)
    for text in (RELATIONSHIP + people(5), people(20), WHOLE.rstrip("\n"), "hello\n\n"):
        read.clear()
        bench.write(text)
        for _ in range(9):
            assert bench.file.look() is None
            bench.clock.now += SETTLE_S
        assert len(read) == 1, text


def test_another_loss_begins_its_own_hour(bench: Bench) -> None:
    bench.looks(RELATIONSHIP + people(5))
    bench.clock.now += AGAIN_S - 1
    assert "only 6 recipients" in (bench.looks(RELATIONSHIP + people(6)) or "")
    bench.clock.now += 2
    assert bench.file.look() is None
    bench.clock.now += AGAIN_S
    assert bench.file.look() is not None


@pytest.mark.parametrize("text", [RELATIONSHIP + people(5), people(20), WHOLE.rstrip("\n")])
def test_what_somebody_accepted_is_adopted_at_once(bench: Bench, text: str) -> None:
    assert bench.looks(text) is not None
    accept(bench.path)
    assert is_accepted(bench.path)
    assert bench.file.look() is not None
    bench.write(text + "\n" + people(1))
    assert not is_accepted(bench.path), "this very version only"


def test_nobody_can_accept_what_says_that_it_is_cut(bench: Bench) -> None:
    assert bench.looks(WHOLE + "result: 4\n\n") is not None
    accept(bench.path)
    assert bench.file.look() is None
    assert "result 4" in (bench.file.problem or "")


def test_a_file_written_twice_alike_is_read_and_not_adopted_again(bench: Bench) -> None:
    bench.write(WHOLE, age_s=30)
    assert bench.file.look() is None
    assert bench.file.problem is None


def test_a_copy_with_the_time_and_the_size_of_what_it_replaces_is_another(bench: Bench) -> None:
    assert bench.looks(WHOLE) is None
    before = bench.path.stat()
    bench.path.write_text(WHOLE.replace("sAMAccountName: u7\n", "sAMAccountName: v7\n"), "utf-8")
    os.utime(bench.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert bench.path.stat().st_size == before.st_size
    assert isinstance(newer := bench.file.look(), Snapshot)
    assert isinstance(newer.meant_by("v7"), Ambiguous), "found, by a name that is not vouched for"
    bench.path.chmod(0o600)
    assert bench.file.look() is None, "the same version, of which only the mode has changed"
    assert bench.file.problem is None


def test_an_acceptance_of_nonsense_is_none(bench: Bench) -> None:
    bench.looks(people(20))
    for content in (b"", b"\xff\xfe", b"x" * 100_000):
        acceptance(bench.path).write_bytes(content)
        assert bench.file.look() is None


async def test_what_stands_in_force_is_as_good_as_read_now_while_its_file_is(
    bench: Bench,
) -> None:
    bench.write(RELATIONSHIP + people(21))
    newer = bench.file.look()
    assert newer is not None
    assert (await newer.relationships()).age_s == 0
    bench.looks(people(1))
    assert newer.outdated_since is not None
    newer.outdated_since -= 1000
    bench.file.look()
    assert (await newer.relationships()).age_s >= 1000
    assert (await newer.recipient(logon("u1"))).age_s >= 1000
    bench.looks(RELATIONSHIP + people(21))
    assert (await newer.relationships()).age_s == 0


async def test_what_the_configuration_says_holds_for_every_version(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(WHOLE + people(1, "DC=fabrikam,DC=example"))
    for domain, kind in ((None, Ambiguous), ("contoso.example", Found)):
        bench.file = SnapshotFile(
            bench.path, default_domain=domain, no_mailboxes_here=True, clock=bench.clock
        )
        snapshot = bench.file.open()
        assert snapshot is not None
        sight = (await snapshot.relationships()).sight
        assert sight is not None
        assert sight.no_mailboxes_here
        assert isinstance((await snapshot.recipient(logon("u0"))).lookup, kind)


# -- at a start ----------------------------------------------------------------------------------


def test_a_start_does_not_wait_for_a_file_that_stands_still(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(WHOLE)
    began = bench.clock.now
    assert bench.file.open(patience_s=SETTLE_S) is not None
    assert bench.file.problem is None
    assert bench.clock.now == began


def test_a_start_without_the_file_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.file.open(patience_s=SETTLE_S) is None
    assert "is gone; put it back" in (bench.file.problem or "")


def test_a_start_waits_for_a_file_that_looks_whole_and_is_young(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(WHOLE, age_s=1)
    began = bench.clock.now
    assert bench.file.open(patience_s=SETTLE_S) is not None
    assert bench.clock.now - began == pytest.approx(SETTLE_S - 1)


@pytest.mark.parametrize(
    ("text", "age_s"),
    [
        (WHOLE[:-40], 1),
        (WHOLE[:-40], 60),
        ("", 1),
        ("", 60),
        ("# extended LDIF\n", 60),
        ("dn: CN=u0,DC=contoso,DC=exam", 1),
        (WHOLE + "result: 4 Size limit exceeded\n\n", 60),
        (WHOLE + "# search result\nsearch: 2\n", 1),
    ],
)
async def test_a_start_with_what_is_not_whole_holds(
    tmp_path: Path, text: str, age_s: float
) -> None:
    bench = Bench(tmp_path)
    bench.write(text, age_s=age_s)
    began = bench.clock.now
    assert bench.file.open(patience_s=SETTLE_S) is None
    assert bench.clock.now == began, "mail does not wait for it"
    held = HeldBack(lambda: bench.file.problem)
    why = Unavailable(error_type="snapshot_held_back", message=bench.file.problem or "")
    assert await held.recipient(logon("anna")) == DirectoryAnswer(lookup=why, source="snapshot")
    assert await held.relationships() == RelationshipsAnswer(relationships=why, source="snapshot")
    assert await held.moved([]) == MovedAnswer(moved=why, source="snapshot")
    assert held.meant_by("anna") == why
    bench.write(WHOLE)
    assert bench.file.look() is not None


def test_a_start_while_it_is_written_holds(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(WHOLE, age_s=0)
    bench.clock.during_sleep = lambda: bench.write(WHOLE + people(1, "DC=x"), age_s=0)
    assert bench.file.open(patience_s=SETTLE_S) is None
    assert "still being written" in (bench.file.problem or "")
    bench.clock.now += SETTLE_S
    assert bench.file.look() is not None


@pytest.mark.parametrize("age_s", [60, 1])
def test_a_start_with_what_is_no_snapshot_is_refused(tmp_path: Path, age_s: float) -> None:
    bench = Bench(tmp_path)
    bench.write("hello\n\n", age_s=age_s)
    with pytest.raises(SnapshotError, match="no colon"):
        bench.file.open(patience_s=SETTLE_S)


def test_a_start_with_a_folder_that_has_just_been_made_holds(tmp_path: Path) -> None:
    """As at a mount that is about to come."""
    bench = Bench(tmp_path)
    bench.path.mkdir()
    bench.clock.now = began = bench.path.stat().st_mtime
    assert bench.file.open(patience_s=SETTLE_S) is None
    assert "still being written" in (bench.file.problem or "")
    assert bench.clock.now == began


async def test_who_has_not_looked_yet_says_so() -> None:
    lookup = (await HeldBack(lambda: None).recipient(logon("anna"))).lookup
    assert isinstance(lookup, Unavailable)
    assert lookup.message == "the snapshot is about to be read"


# -- several workers -----------------------------------------------------------------------------


def test_a_worker_that_takes_another_s_place_holds_back_what_the_others_do(tmp_path: Path) -> None:
    bench = Bench(tmp_path, memory=tmp_path)
    bench.write(WHOLE)
    assert bench.file.open() is not None
    assert bench.looks(RELATIONSHIP + people(5)) is not None
    bench.clock.now += AGAIN_S / 2
    late = bench.another()
    assert late.open() is None
    assert "only 5 recipients of 20" in (late.problem or "")
    bench.clock.now += AGAIN_S / 2
    assert late.look() is not None, "the hour began when the others read it"
    assert bench.file.look() is not None


def test_a_worker_that_begins_after_a_loss_holds_it_back_though_no_other_has_looked(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, memory=tmp_path)
    bench.write(WHOLE)
    assert bench.file.open() is not None
    bench.write(RELATIONSHIP + people(5))
    late = bench.another()
    assert late.open() is None
    assert "only 5 recipients of 20" in (late.problem or "")


def test_after_an_acceptance_all_of_them_go_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, memory=tmp_path)
    bench.write(WHOLE)
    others = [bench.another() for _ in range(3)]
    for file in others:
        assert file.open() is not None
    bench.write(people(5))
    assert [file.look() for file in others] == [None] * 3
    accept(bench.path)
    assert all(file.look() is not None for file in others)
    assert bench.another().open() is not None


def test_a_start_of_the_service_has_nothing_to_compare_with(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(WHOLE)
    assert bench.file.open() is not None
    bench.write(people(1))
    assert bench.another().open() is not None


@pytest.mark.parametrize("memory", ["", "{", "[]", '{"path": 1}', "null", "\udcff"])
def test_a_memory_of_nonsense_is_none(tmp_path: Path, memory: str) -> None:
    bench = Bench(tmp_path, memory=tmp_path)
    (tmp_path / "snapshot.json").write_text(memory, "utf-8", "surrogateescape")
    bench.write(WHOLE)
    assert bench.another().open() is not None


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    bench = Bench(tmp_path, memory=tmp_path / "nowhere")
    bench.write(WHOLE)
    assert bench.file.open() is not None
    assert bench.looks(people(1)) is not None


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [(10, 9, False), (10, 8, True), (100, 90, False), (100, 89, True), (1, 0, True), (0, 0, False)],
)
def test_a_tenth(before: int, after: int, lost: bool) -> None:
    make: Callable[[int], Extent] = lambda n: Extent(  # noqa: E731 - it is short
        digest=str(n), recipients=n, relationships=(), domains=()
    )
    assert (make(before).lost(make(after)) is not None) is lost


@pytest.mark.parametrize(("gone", "says"), [(1, " a0"), (5, "s a0, a1, a2, a3, a4"),
                                            (6, "s a0, a1, a2, a3, a4, …")])  # fmt: skip
def test_the_first_few_that_are_lost_are_named(gone: int, says: str) -> None:
    names = tuple(f"a{n}" for n in range(gone))
    before = Extent(digest="1", recipients=9, relationships=(), domains=("b", *names))
    after = Extent(digest="2", recipients=9, relationships=(), domains=("b",))
    assert before.lost(after) == f"it has lost the domain{says}"


def test_what_was_cut_before_has_lost_nothing() -> None:
    whole, cut = (
        Extent(digest="1", recipients=9, relationships=("r",), domains=(), cut=is_cut)
        for is_cut in (False, True)
    )
    assert whole.lost(cut) is not None
    assert cut.lost(cut) is None
    assert cut.lost(whole) is None
