"""Files as they lie about: packed in any way, cut short, with a mark in front, or a pipe."""

import bz2
import gzip
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.packing import Encoding, Packing, packing_of, unpack, zstd_is_whole
from eas_redirect.report.report_values import Report
from eas_redirect.telemetry.record import journal_line as line
from tests.report.simulator import START
from tests.report.test_figures import call

if sys.version_info >= (3, 14):
    import compression.zstd as zstd
else:
    import backports.zstd as zstd

NOW = START + 86400
COUNT = 3000
_NOISE = random.Random(1)  # noqa: S311 - so that it does not pack to nothing
LINES = b"".join(
    line(call(n, device_id=f"{_NOISE.getrandbits(128):x}", method="POST")) for n in range(COUNT)
)


def packed_with_zstd(content: bytes, checksum: bool = True, size: bool = True) -> bytes:
    """As the program `zstd` writes it: with a checksum, and with the size where it is known."""
    parameter = zstd.CompressionParameter
    options: dict[int, int] = {parameter.checksum_flag: checksum, parameter.content_size_flag: size}
    return zstd.compress(content, options=options)


PACKERS: dict[Packing, Callable[[bytes], bytes]] = {
    Packing.NONE: bytes,
    Packing.GZIP: gzip.compress,
    Packing.ZSTD: packed_with_zstd,
    Packing.BZIP2: bz2.compress,
    Packing.XZ: lzma.compress,
}


def read(tmp_path: Path, content: bytes, name: str = "eas.jsonl") -> Report:
    (tmp_path / name).write_bytes(content)
    return make_report(find_sources([str(tmp_path / name)]), NOW)


@pytest.mark.parametrize("packing", PACKERS)
def test_every_packing_is_read(tmp_path: Path, packing: Packing) -> None:
    packed = PACKERS[packing](LINES)
    assert packing_of(packed) is packing
    made = read(tmp_path, packed)
    assert (made.totals.exchanges, made.input.torn, made.notes) == (COUNT, 0, ())


@pytest.mark.parametrize("packing", [p for p in PACKERS if p is not Packing.NONE])
def test_what_breaks_off_is_read_up_to_there_and_said(tmp_path: Path, packing: Packing) -> None:
    packed = PACKERS[packing](LINES)
    made = read(tmp_path, packed[: len(packed) * 9 // 10])
    assert 0 < made.totals.exchanges < COUNT
    assert any("eas.jsonl breaks off; it was read up to there" in note for note in made.notes)


@pytest.mark.parametrize("packing", [Packing.ZSTD, Packing.XZ, Packing.BZIP2])
def test_damage_inside_ends_that_file_alone(tmp_path: Path, packing: Packing) -> None:
    packed = bytearray(PACKERS[packing](LINES))
    late = len(packed) * 9 // 10
    packed[late : late + 300] = bytes(300)
    (tmp_path / "good.jsonl").write_bytes(LINES)
    (tmp_path / "bad.jsonl").write_bytes(packed)
    made = make_report(find_sources([str(tmp_path)]), NOW)
    assert made.totals.exchanges >= COUNT
    assert any("bad.jsonl breaks off" in note for note in made.notes)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (Encoding.UTF8_MARKED, LINES.decode()),
        (Encoding.UTF16, LINES.decode()),
        (Encoding.UTF8, LINES.decode().replace("\n", "\r\n")),
    ],
)
def test_no_line_is_lost_to_marks_and_line_ends(
    tmp_path: Path, encoding: Encoding, text: str
) -> None:
    made = read(tmp_path, text.encode(encoding))
    assert (made.totals.exchanges, made.input.lines) == (COUNT, COUNT)
    packed = read(tmp_path, gzip.compress(text.encode(encoding)), "eas.jsonl.gz")
    assert packed.totals.exchanges == COUNT


def test_a_skippable_frame_without_its_length_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a.zst").write_bytes(packed_with_zstd(b"a") + b"\x50\x2a\x4d\x18")
    assert not zstd_is_whole(tmp_path / "a.zst")


FRAMES = st.lists(st.binary(max_size=300) | st.just(bytes(400_000)), min_size=1, max_size=3)


@given(FRAMES, st.booleans(), st.booleans(), st.data())
def test_only_a_whole_zstd_file_is_whole(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[bytes],
    checksum: bool,
    size: bool,
    data: st.DataObject,
) -> None:
    packed = [packed_with_zstd(frame, checksum, size) for frame in frames]
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"  # RFC 8878 3.1.2
    whole = skippable.join(packed)
    path = tmp_path_factory.getbasetemp() / "frames.zst"
    path.write_bytes(whole)
    assert zstd_is_whole(path)
    cut = data.draw(st.integers(1, len(whole)))
    path.write_bytes(whole[:-cut])
    ends = {len(skippable.join(packed[:n])) for n in range(1, len(frames) + 1)}
    ends |= {end + len(skippable) for end in ends}
    at_an_end = len(whole) - cut in ends
    assert zstd_is_whole(path) is at_an_end
    plain = tmp_path_factory.getbasetemp() / "plain"
    assert unpack(path, Packing.ZSTD, Encoding.UTF8, plain) is at_an_end
    assert b"".join(frames).startswith(plain.read_bytes())


@given(st.binary(max_size=400), st.sampled_from(list(PACKERS)), st.integers(0, 60))
def test_any_bytes_are_unpacked_as_far_as_they_go(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, packing: Packing, cut: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    packed = PACKERS[packing](content)
    (folder / "packed").write_bytes(packed[: max(0, len(packed) - cut)] if cut else packed)
    whole = unpack(folder / "packed", packing, Encoding.UTF8, folder / "plain")
    plain = (folder / "plain").read_bytes()
    assert content.startswith(plain)
    assert whole or packing is not Packing.NONE
    if not cut:
        assert whole
        assert plain == content
