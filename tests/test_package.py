"""The wheel holds the package, its data and the shim; what it imports is a declared dependency."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
    assert {top for top in tops if not top.endswith((".dist-info", ".data"))} == {"eas_redirect"}
    beside = [name.partition(".data/")[2] for name in wheel.namelist() if ".data/" in name]
    assert beside == ["data/share/man/man1/eas-redirect.1"]


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# The rooms that may import what an extra brings, besides what is always there.
ROOM_OF_EXTRA = {"report": "report", "lab": "lab"}
# What nothing of ours imports: ldap3 imports it for Kerberos.
IMPORTED_BY_OTHERS = {"gssapi"}
# Modules of a namespace that several distributions share.
NAMESPACES = {"backports", "compression", "ruamel"}


def declared(extra: str | None = None) -> set[str]:
    """The distributions that `pip install eas-redirect[extra]` names, those of other extras too."""
    texts = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    names = set()
    for requirement in map(Requirement, texts):
        if requirement.name == PROJECT["name"]:
            names |= set[str]().union(*map(declared, requirement.extras))
        else:
            names.add(canonicalize_name(requirement.name))
    return names


def distributions(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file that imports a library, with the library's distribution."""
    providers = packages_distributions()
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            for module in modules:
                top = module.split(".")[0]
                if top in sys.stdlib_module_names | {"eas_redirect", "tests", "compression"}:
                    continue
                if top in NAMESPACES:
                    yield path, canonicalize_name(".".join(module.split(".")[:2]))
                else:
                    assert top in providers, f"{path}: {module} is not installed"
                    yield path, canonicalize_name(providers[top][0])


def test_what_the_package_imports_is_a_dependency_in_the_extra_that_needs_it() -> None:
    missing = []
    for path, distribution in distributions(SOURCES):
        room = path.relative_to(SOURCES).parts[0]
        allowed = declared().union(*(declared(e) for e, r in ROOM_OF_EXTRA.items() if r == room))
        if distribution not in allowed:
            missing.append(f"{path.relative_to(SOURCES)}: {distribution}")
    assert missing == []


def test_what_the_tests_import_is_a_dependency_of_dev() -> None:
    allowed = declared() | declared("dev")
    imported = set(distributions(ROOT / "tests"))
    assert [f"{path}: {name}" for path, name in sorted(imported) if name not in allowed] == []


def test_every_dependency_is_imported() -> None:
    imported = {name for _, name in distributions(SOURCES)}
    runtime = declared().union(*map(declared, set(PROJECT["optional-dependencies"]) - {"dev"}))
    assert runtime - imported - IMPORTED_BY_OTHERS == set()


def test_dev_brings_what_is_optional() -> None:
    assert declared("report") | declared("lab") <= declared("dev")


def test_the_constraints_name_versions_and_no_place() -> None:
    """Each library once; where from is the affair of whoever installs."""
    lines = (ROOT / ".ci" / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    names = [canonicalize_name(pin.split("==")[0]) for pin in pins]
    assert len(names) == len(set(names))
    assert declared() | declared("dev") | declared("kerberos") <= set(names)


def test_the_constraints_fit_the_bounds() -> None:
    lines = (ROOT / ".ci" / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    extras = chain.from_iterable(PROJECT["optional-dependencies"].values())
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras]):
        if requirement.name != PROJECT["name"]:
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier
