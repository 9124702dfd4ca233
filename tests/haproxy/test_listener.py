"""Where questions come in: one a connection, bounded in number, bytes and time."""

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from eas_redirect.haproxy import listener
from eas_redirect.haproxy.listener import Listener, ListenError
from eas_redirect.haproxy.question import (
    MAX_QUESTION,
    JudgeReply,
    Question,
    written_question,
    written_reply,
)

QUESTION = Question({"method": b"POST"}, (("date", b"x"),))
PASS = JudgeReply(word="pass", reason="other_answer")


async def answers(_question: Question, _still_there: Callable[[], bool]) -> JudgeReply | None:
    return PASS


def serve(
    tmp_path: Path,
    use: Callable[[Listener, str], Awaitable[None]],
    answer: listener.Answerer = answers,
) -> Listener:
    serving = Listener(answer)

    async def run() -> None:
        path = str(tmp_path / "j")
        await serving.start(f"unix:{path}")
        try:
            await use(serving, path)
        finally:
            await serving.stop(1)

    asyncio.run(run())
    return serving


async def said(path: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    try:
        return await reader.read()
    except (ConnectionResetError, BrokenPipeError):
        return b""
    finally:
        writer.close()


def test_a_question_is_answered_whole_or_byte_by_byte(tmp_path: Path) -> None:
    async def use(_serving: Listener, path: str) -> None:
        assert await said(path, written_question(QUESTION)) == written_reply(PASS)
        reader, writer = await asyncio.open_unix_connection(path)
        for byte in written_question(QUESTION):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await reader.read() == written_reply(PASS)
        writer.close()

    assert serve(tmp_path, use).refused == 0


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 100,
        b"EAS2 5\nhello",
        b"EAS2 -5\nhello",
        b"EAS2 %d\n" % (MAX_QUESTION + 1),
        b"EAS1 5\n1 0\na",
        b"EAS2 3\n1\na",
        b"EAS2 12\n1 1 1 1\nabab",
    ],
)
def test_what_is_no_question_is_closed_and_counted(data: bytes, tmp_path: Path) -> None:
    async def use(_serving: Listener, path: str) -> None:
        assert await said(path, data) == b""

    assert serve(tmp_path, use).refused == 1


def test_whoever_begins_and_does_not_go_on_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "READ_S", 0.05)

    async def use(_serving: Listener, path: str) -> None:
        assert await said(path, written_question(QUESTION)[:-1]) == b""

    assert serve(tmp_path, use).refused == 1


def test_more_than_there_is_room_for_are_sent_away_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "AT_ONCE", 2)

    async def use(serving: Listener, path: str) -> None:
        held = [await asyncio.open_unix_connection(path) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert serving.open == 2
        assert await said(path, written_question(QUESTION)) == b""
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.05)
        assert await said(path, written_question(QUESTION)) == written_reply(PASS)

    assert serve(tmp_path, use).refused == 1


def test_whoever_has_left_is_known_to_have(tmp_path: Path) -> None:
    there: list[bool] = []

    async def slow(_question: Question, still_there: Callable[[], bool]) -> JudgeReply | None:
        await asyncio.sleep(0.1)
        there.append(still_there())
        return PASS

    async def use(_serving: Listener, path: str) -> None:
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(written_question(QUESTION))
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()
        assert await said(path, written_question(QUESTION)) == written_reply(PASS)

    serve(tmp_path, use, slow)
    assert there == [False, True]


def test_a_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    async def slow(_question: Question, _still_there: Callable[[], bool]) -> JudgeReply | None:
        await asyncio.sleep(0.1)
        return PASS

    async def use(serving: Listener, path: str) -> None:
        asked = asyncio.ensure_future(said(path, written_question(QUESTION)))
        await asyncio.sleep(0.03)
        await serving.stop(5)
        assert await asked == written_reply(PASS)

    serve(tmp_path, use, slow)
    assert not (tmp_path / "j").exists()


def test_a_stop_takes_whoever_had_connected(tmp_path: Path) -> None:
    """HAProxy is through to us as soon as the kernel is: it must not wait for nothing."""

    async def use(serving: Listener, path: str) -> None:
        asking = [socket.socket(socket.AF_UNIX) for _ in range(listener.ACCEPTS + 5)]
        for client in asking:
            client.connect(path)
            client.sendall(written_question(QUESTION))
        await serving.stop(5)
        assert [client.recv(100) for client in asking] == [written_reply(PASS)] * len(asking)
        for client in asking:
            client.close()

    serve(tmp_path, use)


def test_a_stop_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    async def never(_question: Question, _still_there: Callable[[], bool]) -> JudgeReply | None:
        await asyncio.sleep(60)
        return PASS

    async def use(serving: Listener, path: str) -> None:
        asked = asyncio.ensure_future(said(path, written_question(QUESTION)))
        await asyncio.sleep(0.05)
        await serving.stop(0.1)
        assert await asked == b""
        assert serving.open == 0

    serve(tmp_path, use, never)


def test_a_reply_that_is_not_taken_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "READ_S", 0.1)
    long = JudgeReply(word="settings", reason="mailbox_moved", given=bytes(4 << 20))

    async def talks(_question: Question, _still_there: Callable[[], bool]) -> JudgeReply | None:
        return long

    async def use(serving: Listener, path: str) -> None:
        assert await said(path, written_question(QUESTION)) == written_reply(long)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.connect(path)
            deaf.sendall(written_question(QUESTION))
            await asyncio.sleep(0.05)
            assert serving.open == 1
            await asyncio.sleep(0.2)
            assert serving.open == 0

    serve(tmp_path, use, talks)


def test_where_no_descriptor_is_left_they_are_taken_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(serving: Listener, path: str) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        client.sendall(written_question(QUESTION))
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
        try:
            await asyncio.sleep(0.05)
            assert serving.refused == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await asyncio.sleep(0.1)
        assert client.recv(100) == written_reply(PASS)
        client.close()

    monkeypatch.setattr(listener, "ACCEPT_AGAIN_S", 0.05)
    serve(tmp_path, use)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("mine")
    with pytest.raises(ListenError, match="is no socket"):
        serve(tmp_path, lambda _serving, _path: asyncio.sleep(0))
    assert (tmp_path / "j").read_text() == "mine"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError, match="cannot be listened at"):
            asyncio.run(Listener(answers).start(where))
