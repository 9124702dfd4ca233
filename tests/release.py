"""`python -m tests.release`: whether what would be released agrees with what is said of it.

Version, changelog, bounds and constraints, documents; then the built wheel and sdist, each in
an environment of its own, the sdist by its own `make lab`. Takes two minutes and needs a
package index. Exit code 1: a sentence for each thing that does not agree.
"""

import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from eas_redirect import __version__
from tests.support import ROOT

GROUPS = ("Added", "Changed", "Fixed")
# In documents: an image's tag, the man page's head.
_OWN_VERSION = re.compile(r"eas-redirect[: ](\d+\.\d+\.\d+)")
_MITMPROXY_RANGE = re.compile(r"mitmproxy (\d+\.\d+\.\d+) to (\d+\.\d+\.\d+)")


def changelog(text: str, version: str, today: date) -> Iterator[str]:
    """What is wrong with CHANGELOG.md for the release of `version`."""
    heads = list(re.finditer(r"(?m)^## (.+)$", text))
    if not heads:
        yield "CHANGELOG.md: no release stands in it"
        return
    first = re.fullmatch(r"(\S+) — (\d{4}-\d\d-\d\d)", heads[0][1])
    if first is None:
        yield f"CHANGELOG.md: the first head is {heads[0][1]!r}: write `## {version} — YYYY-MM-DD`"
        return
    if first[1] != version:
        yield f"CHANGELOG.md: the first head is of {first[1]}, the package is {version}"
    try:
        if date.fromisoformat(first[2]) > today:
            yield f"CHANGELOG.md: {first[2]} has not come yet"
    except ValueError:
        yield f"CHANGELOG.md: {first[2]} is no date"
    end = heads[1].start() if len(heads) > 1 else len(text)
    groups = re.findall(r"(?m)^### (.+)$", text[heads[0].end() : end])
    if not groups:
        yield f"CHANGELOG.md: the entries of {version} are not grouped as {', '.join(GROUPS)}"
    for name in groups:
        if name not in GROUPS:
            yield f"CHANGELOG.md: {name!r} is none of the groups {', '.join(GROUPS)}"
    if len(groups) != len(set(groups)):
        yield f"CHANGELOG.md: a group of {version} stands twice"


def pins(text: str) -> dict[str, Version]:
    lines = (line.split("==") for line in text.splitlines() if line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in lines}


def bounds(
    project: dict[str, Any], newest: dict[str, Version], oldest: dict[str, Version]
) -> Iterator[str]:
    """What CI runs with is what is allowed, and `oldest` is the oldest mitmproxy that is."""
    for requirement in map(Requirement, project["dependencies"]):
        name = canonicalize_name(requirement.name)
        for where, known in (("constraints.txt", newest), ("constraints-oldest.txt", oldest)):
            if known[name] not in requirement.specifier:
                yield f".ci/{where}: {name} {known[name]} is not in {requirement.specifier}"
        if name == "mitmproxy":
            [least] = [s.version for s in requirement.specifier if s.operator == ">="]
            if oldest[name] != Version(least):
                yield f".ci/constraints-oldest.txt: mitmproxy is {oldest[name]}, not {least}"


def documents(
    texts: dict[str, str], version: str, newest: Version, oldest: Version
) -> Iterator[str]:
    """Every version that a document or a source names of ours, and of the tested mitmproxy."""
    for name, text in texts.items():
        for found in _OWN_VERSION.findall(text):
            if found != version:
                yield f"{name}: says eas-redirect {found}, the package is {version}"
        for least, most in _MITMPROXY_RANGE.findall(text):
            if (Version(least), Version(most)) != (oldest, newest):
                yield f"{name}: says mitmproxy {least} to {most}, CI runs {oldest} to {newest}"


def sources() -> Iterator[str]:
    """What is wrong with the files as they stand."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    newest = pins((ROOT / ".ci" / "constraints.txt").read_text("utf-8"))
    oldest = pins((ROOT / ".ci" / "constraints-oldest.txt").read_text("utf-8"))
    folders = [ROOT / "docs", ROOT / "addon"]
    kinds = {".md", ".yaml", ".py", ".1", ".toml", ".service"}
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    files += [path for folder in folders for path in folder.rglob("*") if path.suffix in kinds]
    texts = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in files}
    today = datetime.now(UTC).date()
    yield from changelog((ROOT / "CHANGELOG.md").read_text("utf-8"), __version__, today)
    yield from bounds(project, newest, oldest)
    yield from documents(texts, __version__, newest["mitmproxy"], oldest["mitmproxy"])


def artefacts(folder: Path) -> Iterator[str]:
    """What is wrong with what is built: whether it holds all and works where nothing else is."""
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    for path in (wheel, sdist):
        if f"-{__version__}" not in path.name:
            yield f"{path.name} is not of version {__version__}"
    yield from _left_out(sdist)
    if "eas_redirect/redirect.py" not in zipfile.ZipFile(wheel).namelist():
        yield f"{wheel.name}: the script that mitmdump loads is not in it"
    yield from _installed(wheel, folder / "venv")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    ran = subprocess.run(["make", "lab"], cwd=source, capture_output=True, text=True, check=False)
    if ran.returncode:
        yield f"make lab in {sdist.name}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}"


def _left_out(sdist: Path) -> Iterator[str]:
    """What is under version control belongs into the sdist."""
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    with tarfile.open(sdist) as packed:
        held = {name.partition("/")[2] for name in packed.getnames()}
    for name in listing.stdout.splitlines():
        if name not in held:
            yield f"{sdist.name}: {name} is not in it"


def _installed(wheel: Path, folder: Path) -> Iterator[str]:
    python, command = folder / "bin" / "python", folder / "bin" / "eas-redirect"
    constraints = str(ROOT / ".ci" / "constraints.txt")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", constraints, str(wheel)], check=True)
    for words in ([str(command), "--version"], [str(python), "-m", "eas_redirect", "--version"]):
        shown = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
        if shown != __version__:
            yield f"{wheel.name}: {words[-2]} --version says {shown!r}"
    script = subprocess.run([command, "script"], capture_output=True, text=True, check=False)
    if not Path(script.stdout.strip()).is_file():
        yield f"{wheel.name}: eas-redirect script names no file: {script.stdout}{script.stderr}"
    if not (folder / "share" / "man" / "man1" / "eas-redirect.1").is_file():
        yield f"{wheel.name}: the man page is not installed"


def main() -> int:
    wrong = list(sources())
    with tempfile.TemporaryDirectory(prefix="eas-release-") as folder:
        wrong += artefacts(Path(folder))
    print("\n".join(wrong) or f"{__version__}: version, changelog, bounds, documents, wheel, sdist")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
