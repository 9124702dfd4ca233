"""Who has moved, asked of servers that answer late, half, for others, or not at all."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.values import DirectorySettings, Unavailable, Watched
from tests.directory.ldap.ranges import ROOT, Attributes, RangeServer, serving, whole_ranges
from tests.directory.ldap.test_active_directory import Forest, directory_of
from tests.directory.ldap.test_wire import done_of, entry_of, message
from tests.directory.ldap.test_wire_ranges import entries

GUIDS = [UUID(int=n + 1) for n in range(3)]
ANNA, BERT, CORA = (
    Watched(dn=f"CN={name},{ROOT}", object_guid=str(guid))
    for name, guid in zip(("Anna", "Bert", "Cora"), GUIDS, strict=True)
)
MOVED: Attributes = {"mailNickname": [b"x"], "targetAddress": [b"SMTP:x@contoso.mail.example"]}


def moved(user: Watched, **more: bytes) -> bytes:
    guid = UUID(user.object_guid).bytes_le
    attributes = MOVED | {"objectGUID": [guid]} | {name: [v] for name, v in more.items()}
    return entry_of(user.dn, attributes, wide=True)


type Script = Callable[[socket.socket, int], object]


@dataclass(slots=True)
class MovedServer(RangeServer):
    """Answers the question who has moved as `script` says."""

    script: Script | None = None
    questions: list[bytes] = field(default_factory=list)

    def _search(
        self, connection: socket.socket, number: int, request: list[tuple[int, bytes]]
    ) -> None:
        if self.script is None or b"targetAddress" not in request[6][1]:
            # Not zero-argument super(), which a slotted dataclass does not have.
            RangeServer._search(self, connection, number, request)
            return
        self.questions.append(request[6][1])
        self.script(connection, number)


@asynccontextmanager
async def asking(script: Script) -> AsyncIterator[tuple[ActiveDirectory, MovedServer]]:
    known = entries(1, 1)
    for one in known.values():
        if one.get("sAMAccountName"):
            one["userPrincipalName"] = [b"anna@contoso.example"]
    server = MovedServer(known, whole_ranges(1500), script=script)
    with serving(server):
        settings = DirectorySettings(servers=(server.url,), bind="anonymous", lookup_timeout_s=1)
        directory = ActiveDirectory(settings)
        try:
            yield directory, server
        finally:
            directory.close()


def answers(*parts: bytes) -> Script:
    def script(connection: socket.socket, number: int) -> None:
        for part in parts:
            connection.sendall(message(number, part, wide=True))

    return script


OTHERS = [
    entry_of(f"CN=Other{n},{ROOT}", MOVED | {"objectGUID": [UUID(int=n + 99).bytes_le]}, wide=True)
    for n in range(1000)
]
NO_GUID = entry_of(ANNA.dn, MOVED, wide=True)
ODD_GUID = entry_of(ANNA.dn, MOVED | {"objectGUID": [b"short"]}, wide=True)


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (answers(moved(ANNA), done_of(0)), (ANNA,)),
        (answers(moved(CORA), moved(ANNA), done_of(0)), (ANNA, CORA)),
        (answers(done_of(0)), ()),
        (answers(*OTHERS[:100], done_of(0)), ()),
        (answers(*OTHERS, done_of(0)), "answer_too_long"),
        (answers(OTHERS[0], moved(BERT), done_of(0)), (BERT,)),
        (answers(NO_GUID, ODD_GUID, done_of(0)), ()),
        (answers(moved(ANNA), moved(ANNA), done_of(0)), ()),
        (answers(moved(ANNA, homeMDB=b"CN=DB01"), done_of(0)), ()),
        (answers(moved(ANNA, msExchHomeServerName=b"/o=X"), done_of(0)), ()),
        (answers(moved(ANNA), done_of(3)), "search_refused"),
        (answers(moved(ANNA), done_of(4)), "search_refused"),
        (answers(moved(ANNA), done_of(10)), "referral"),
        (answers(moved(ANNA), done_of(50)), "search_refused"),
        (answers(moved(ANNA), done_of(51)), "search_refused"),
        (answers(moved(ANNA)), "timeout"),
        (answers(moved(ANNA)[:-3]), "protocol"),
        (answers(*(entry_of(f"CN={'x' * 3000}", MOVED, wide=True) for _ in range(30))),
         "answer_too_long"),
        (lambda connection, _: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "protocol"),
        (lambda connection, _: connection.shutdown(socket.SHUT_RDWR), "disconnected"),
        (lambda *_: time.sleep(0.01), "timeout"),
    ],
    ids=["moved", "two of three", "nobody", "a hundred others", "a thousand",
         "one of others and one asked for", "objects that do not say who they are", "twice",
         "with a mailbox all the same",
         "on a server all the same", "time limit", "size limit", "referral", "no right", "busy",
         "half an answer", "a cut entry", "too long an answer", "no LDAP", "gone", "no answer"],
)  # fmt: skip
async def test_what_counts_of_an_answer(script: Script, outcome: tuple[Watched, ...] | str) -> None:
    async with asking(script) as (directory, _):
        answer = (await directory.moved([ANNA, BERT, CORA])).moved
    if isinstance(outcome, str):
        assert isinstance(answer, Unavailable), answer
        assert answer.error_type == outcome
    else:
        assert answer == outcome


async def test_one_question_holds_all_users_and_what_they_must_have() -> None:
    users = [Watched(dn=f"CN=u{n},{ROOT}", object_guid=str(UUID(int=n))) for n in range(99)]
    users.append(Watched(dn=rf"CN=No\, GUID (*),{ROOT}"))
    async with asking(answers(done_of(0))) as (directory, server):
        assert (await directory.moved(users)).moved == ()
        assert (await directory.moved([])).moved == ()
    [asked] = server.questions
    assert all(UUID(int=n).bytes_le in asked for n in range(99))
    assert b"distinguishedName" in asked
    assert users[-1].dn.encode() in asked, "as it is: nothing to escape"
    assert asked.endswith(b"\x87\rtargetAddress\xa2\t\x87\x07homeMDB")


async def test_a_drop_of_a_byte_at_a_time_ends_in_time() -> None:
    def drip(connection: socket.socket, number: int) -> None:
        for byte in message(number, moved(ANNA), wide=True):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    async with asking(drip) as (directory, _):
        began = time.monotonic()
        answer = (await directory.moved([ANNA])).moved
    assert isinstance(answer, Unavailable)
    assert time.monotonic() - began < 3


async def test_whom_a_catalogue_and_whom_a_controller_is_asked_for() -> None:
    """A catalogue holds the forest below the empty base, a controller its own domain."""
    for server, base in (("ldaps://gc:3269", ""), ("ldaps://dc1", ROOT.lower())):
        forest = Forest(is_active_directory=True)
        with directory_of(forest, server) as directory:
            assert (await directory.moved([ANNA])).moved == ()
        assert forest.asked[-1] == (server.removeprefix("ldaps://").replace("dc1", "dc1:636"), base)
        assert forest.watched == [(("objectGUID", GUIDS[0].bytes_le),)]


async def test_another_server_is_asked_when_one_fails() -> None:
    forest = Forest()
    forest.ask_faults = {"dc1": [Fault("timeout", "too late")]}
    with directory_of(forest, "ldaps://dc1", "ldaps://dc2") as directory:
        answer = await directory.moved([ANNA])
    assert answer.moved == ()
    assert answer.server == "dc2:636"


async def test_a_cancelled_question_lets_its_thread_go() -> None:
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    silent: Script = lambda *_: loop.call_soon_threadsafe(asked.set)  # noqa: E731
    async with asking(silent) as (directory, server):
        task = asyncio.create_task(directory.moved([ANNA]))
        await asyncio.wait_for(asked.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.script = answers(moved(ANNA), done_of(0))
        assert (await directory.moved([ANNA])).moved == (ANNA,)
