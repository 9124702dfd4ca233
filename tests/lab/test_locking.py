"""One at a time: refused at once, or waited for."""

import threading
from pathlib import Path

import pytest

from eas_redirect.lab.certificates import LabCertificates
from eas_redirect.lab.locking import InUseError, locked


def test_a_second_one_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "work", wait=False),
        pytest.raises(InUseError),
        locked(tmp_path / "work", wait=False),
    ):
        pass
    with locked(tmp_path / "work", wait=False):
        pass


def test_labs_that_start_together_share_one_authority(tmp_path: Path) -> None:
    issued = []

    def make() -> None:
        lab = LabCertificates(tmp_path)
        issued.append((lab.ca_file.read_bytes(), lab.issue("front", ["a.example"]).file))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(issued) == 8
    assert len({ca for ca, _ in issued}) == 1
    assert issued[0][1].read_bytes().endswith(issued[0][0])
