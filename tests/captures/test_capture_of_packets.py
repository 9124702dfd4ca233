"""Captures of packets are no captures of exchanges, and say so."""

from pathlib import Path

import pytest

from eas_redirect.captures.capture import CaptureTrouble, read_exchanges


@pytest.mark.parametrize("magic", ["a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a"])
def test_a_capture_of_packets_is_refused_with_the_way_that_leads_here(
    magic: str, tmp_path: Path
) -> None:
    path = tmp_path / "capture.pcap"
    path.write_bytes(bytes.fromhex(magic) + bytes(40))
    [said] = read_exchanges(path)
    assert isinstance(said, CaptureTrouble)
    assert "capture of packets (pcap)" in said.text
    assert "mitmdump -w" in said.text
