"""Places that take no lines: full, gone, stalled, removed. Nobody waits, nothing grows.

The places are real: pipes, /dev/full, a folder that is removed.
"""

import fcntl
import io
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eas_redirect.telemetry.writing import (
    PIPE_BATCH,
    FileOutlet,
    Outlet,
    QueuedText,
    Writer,
    queued,
    whole_lines,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes as POSIX has them")


def remark(lost: int) -> bytes:
    return b"lost %d\n" % lost


@contextmanager
def reader_of(fd: int) -> Iterator[list[bytes]]:
    """Reads a pipe until its writers are gone; then the list holds what it gave."""
    got: list[bytes] = []

    def read() -> None:
        with open(fd, "rb") as pipe:
            got.append(pipe.read())

    thread = threading.Thread(target=read)
    thread.start()
    yield got
    thread.join(20)


def test_lines_arrive_whole_and_in_order_from_many_threads(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    writer = Writer(FileOutlet(str(path)), "the file", remark)

    def write(name: str) -> None:
        for number in range(500):
            writer.put(f"{name} {number}\n".encode(), keep=number % 7 == 0)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    found = path.read_text().splitlines()
    for name in "abcd":
        mine = [line for line in found if line.startswith(name)]
        assert mine == [f"{name} {number}" for number in range(500)]
    assert writer.lost == 0


def test_a_stalled_reader_makes_nobody_wait_and_hears_what_it_missed() -> None:
    reading, writing = os.pipe()
    writer = Writer(Outlet("pipe", writing), "the pipe", remark, limit=400_000)
    line = b"x" * 99 + b"\n"
    began = time.perf_counter()
    for _ in range(20_000):
        writer.put(line)
    assert time.perf_counter() - began < 5, "2 MB into a pipe that nobody reads"
    assert 15_000 < writer.lost < 20_000
    assert not writer.flush(0.1)
    with reader_of(reading) as got:
        writer.close()
        os.close(writing)
    lines = got[0].splitlines()
    told = [int(text.removeprefix(b"lost ")) for text in lines if text.startswith(b"lost ")]
    assert sum(told) == writer.lost
    assert lines.count(line[:-1]) + writer.lost == 20_000


def test_at_a_stop_a_stalled_reader_gets_its_time_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reading, writing = os.pipe()
    writer = Writer(Outlet("pipe", writing), "the pipe", remark)
    for _ in range(200):
        writer.put(b"y" * 999 + b"\n")
    began = time.monotonic()
    writer.close(within_s=0.3)
    assert 0.2 < time.monotonic() - began < 5
    assert 100 < writer.lost <= 200, "a pipe holds 64 KiB"
    assert f"{writer.lost} lines lost" in caplog.text
    writer.put(b"too late\n")
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_raises_nothing_and_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = Writer(Outlet("pipe", writing), "the pipe", remark)
    for _ in range(3):
        writer.put(b"line\n")
        writer.flush(0.05)
    writer.close(within_s=0.1)
    assert writer.lost == 3
    assert [text for text in caplog.messages if "Broken pipe" in text][1:] == [
        caplog.messages[-1]
    ], "at the first failure, and at the end"
    os.close(writing)


def test_a_pipe_that_must_not_block_gets_every_byte_once() -> None:
    """Whoever shares a terminal or a pipe with us may have set it so."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETFL, os.O_NONBLOCK)
    writer = Writer(Outlet("pipe", writing), "the pipe", remark)
    sent = [b"%d " % number + b"z" * (number * 37 % 9000) + b"\n" for number in range(200)]
    for line in sent:
        writer.put(line)
    with reader_of(reading) as got:
        writer.close()
        os.close(writing)
    assert got == [b"".join(sent)]


def test_a_folder_that_vanished_costs_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = Writer(FileOutlet(str(folder / "a")), "the file", remark)
    writer.put(b"before\n")
    assert writer.flush()
    shutil.rmtree(folder)
    writer.put(b"while it is gone\n")
    assert not writer.flush(0.2)
    assert "No such file or directory" in caplog.text
    folder.mkdir()
    assert writer.flush()
    assert (folder / "a").read_bytes() == b"while it is gone\n"
    writer.close()
    assert writer.lost == 0


def test_a_file_that_was_moved_to_where_no_new_one_can_be_made_is_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    outlet = FileOutlet(str(path))
    path.rename(tmp_path / "a.1")
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
    outlet.ready()
    assert outlet.write(b"line\n") == 5
    monkeypatch.undo()
    assert (tmp_path / "a.1").read_bytes() == b"line\n"
    outlet.ready()
    outlet.write(b"next\n")
    assert path.read_bytes() == b"next\n"
    outlet.close()


def test_half_a_line_on_a_full_disk_is_written_again_on_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    outlet = FileOutlet(str(tmp_path / "a"))
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    assert outlet.write(b"one\ntwo\n") == 4
    monkeypatch.setattr(os, "write", real)
    assert outlet.write(b"two\n") == 4
    assert (tmp_path / "a").read_bytes().splitlines() == [b"one", b"two", b"two"]
    outlet.close()


@pytest.mark.parametrize(
    ("data", "size", "expected"),
    [
        (b"", 4, b""),
        (b"ab\ncd\n", 6, b"ab\ncd\n"),
        (b"ab\ncd\n", 5, b"ab\n"),
        (b"abcdef\ngh\n", 4, b"abcdef\n"),
        (b"abcdef", 4, b"abcdef"),
    ],
)
def test_whole_lines_are_written_at_once(data: bytes, size: int, expected: bytes) -> None:
    assert whole_lines(data, size) == expected


def test_what_is_printed_goes_out_in_lines_and_the_rest_at_a_flush() -> None:
    reading, writing = os.pipe()
    text = queued(io.TextIOWrapper(io.FileIO(writing, "w", closefd=False), encoding="cp1252"))
    assert isinstance(text, QueuedText)
    assert queued(text) is text
    print("grün", "→", file=text)
    print("no end", end="", file=text)
    text.flush()
    print("x" * PIPE_BATCH * 2, file=text)
    assert text._writer.flush()
    expected = b"gr\xfcn ->\nno end" + b"x" * PIPE_BATCH * 2 + b"\n"
    assert os.read(reading, 65536) == expected
    assert not text.isatty()
    text._writer.close()
    os.close(reading)
    os.close(writing)


PROGRAM = """
import os, sys
from eas_redirect.telemetry.writing import queue_standard_streams
queue_standard_streams()
first = os.open("/dev/null", os.O_RDONLY)
print("to output", first > 2)
print("to errors", file=sys.stderr)
{more}
"""


@pytest.mark.parametrize(
    ("shell", "output"),
    [
        ('exec "$@" >{out} 2>&1', "to output True\nto errors\n"),
        ('exec "$@" >{out} 2>&-', "to output True\n"),
        ('exec "$@" 2>{out} >&-', "to errors\n"),
        ('exec "$@" >&- 2>&- <&-', ""),
        ('exec "$@" >/dev/full 2>/dev/full', ""),
        ('exec "$@" >/dev/full 2>{out}', "to errors\n"),
    ],
)
@pytest.mark.parametrize("more", ["", "sys.exit(0)"])
def test_no_state_of_the_standard_streams_ends_a_process(
    tmp_path: Path, shell: str, output: str, more: str
) -> None:
    out = tmp_path / "out"
    out.touch()
    program = PROGRAM.format(more=more)
    words = ["sh", "-c", shell.format(out=out), "sh", sys.executable, "-c", program]
    done = subprocess.run(words, timeout=60, check=False)
    assert done.returncode == 0
    assert out.read_text() == output
