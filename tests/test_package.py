"""The wheel: the package, its data and the shim, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

SOURCES = ROOT / "addon" / "eas_redirect"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(target.glob("eas_redirect-*.whl")))


def test_every_source_and_data_file_is_in_it_and_the_shim(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if name.startswith("eas_redirect/")}
    sources = {
        f"eas_redirect/{path.relative_to(SOURCES).as_posix()}"
        for path in SOURCES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == sources | {"eas_redirect/redirect.py"}


def test_nothing_else_is_in_it(wheel: zipfile.ZipFile) -> None:
    tops = {Path(name).parts[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"eas_redirect"}
