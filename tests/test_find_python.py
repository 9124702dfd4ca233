"""`.ci/find-python` where the system's Python is too old: through uv, or with advice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell script")

# As uv behaves: `find` knows what was installed, `install` brings one.
UV = """\
#!/bin/sh
case "$2" in
find) [ -e "{installed}" ] && echo "{python}" || exit 2 ;;
install) : > "{installed}" ;;
esac
"""
OLD = "#!/bin/sh\nexit 1\n"  # fails every trial, as a Python below 3.12 does


def find(folder: Path, programs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """With nothing on the PATH but a shell and `programs`."""
    for name in ("sh", "cat"):
        (folder / name).symlink_to(str(shutil.which(name)))
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), "HOME": str(folder), "PYENV_ROOT": str(folder)}
    script = ROOT / ".ci" / "find-python"
    return subprocess.run(
        ["/bin/sh", script], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(
    any(Path(f"/usr/local/bin/python3.{minor}").exists() for minor in (12, 13, 14)),
    reason="a Python that is looked for before uv is asked",
)
@pytest.mark.parametrize("has_one", [True, False], ids=["installed", "to install"])
def test_uv_brings_a_python_where_the_system_has_none(tmp_path: Path, has_one: bool) -> None:
    installed = tmp_path / "installed"
    if has_one:
        installed.touch()
    uv = UV.format(installed=installed, python=sys.executable)
    ran = find(tmp_path, {"uv": uv, "python3": OLD, "python3.13": OLD})
    assert (ran.returncode, ran.stdout) == (0, f"{sys.executable}\n")


def test_without_any_it_says_what_to_install(tmp_path: Path) -> None:
    ran = find(tmp_path, {"python3": OLD})
    if ran.returncode == 0:  # where a Python lies in a place that is always looked at
        assert ran.stdout.startswith(("/usr/local/", "/opt/homebrew/"))
        return
    assert ran.stdout == ""
    for way in ("python3.12-venv", "pyenv install", "uv", "make PYTHON="):
        assert way in ran.stderr
