"""The rules of the house that no linter knows: who imports whom."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "addon" / "eas_redirect"
MODULES = sorted(PACKAGE.rglob("*.py"))
PURE = ("activesync", "autodiscover", "policy", "directory/values.py")
MITMPROXY = ("addon.py", "proxy", "fixes", "engine", "captures", "redaction", "view", "lab")
LDAP3 = ("directory/ldap",)
DUCKDB = ("report",)


def name(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def is_in(module: Path, places: tuple[str, ...]) -> bool:
    return any(name(module) == place or name(module).startswith(place + "/") for place in places)


def imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(module)}: relative imports hide the room"
            yield node.module or ""


def importers(library: str) -> list[str]:
    return [
        name(m)
        for m in MODULES
        if any(i == library or i.startswith(library + ".") for i in imports(m))
    ]


@pytest.mark.parametrize("module", [m for m in MODULES if is_in(m, PURE)], ids=name)
def test_pure_rooms_import_the_standard_library_and_each_other(module: Path) -> None:
    for imported in imports(module):
        top = imported.split(".")[0]
        if top == "eas_redirect":
            target = imported.removeprefix("eas_redirect").strip(".").replace(".", "/")
            assert any(
                f"{target}.py" == p or target.startswith(p.removesuffix(".py")) for p in PURE
            )
            if is_in(module, ("activesync",)):
                assert target.startswith("activesync"), "the protocol knows nothing above it"
            if is_in(module, ("directory/values.py",)):
                assert not target.startswith("policy"), "the directory knows no policy"
        else:
            assert top in sys.stdlib_module_names


@pytest.mark.parametrize(
    ("library", "places"),
    [("mitmproxy", MITMPROXY), ("ldap3", LDAP3), ("duckdb", DUCKDB)],
)
def test_a_library_is_imported_only_where_it_belongs(library: str, places: tuple[str, ...]) -> None:
    assert [m for m in importers(library) if not is_in(PACKAGE / m, places)] == []


def test_nothing_imports_the_command_line() -> None:
    assert [m for m in importers("eas_redirect.cli") if not m.startswith("cli/")] == []


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_each_module_says_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text("utf-8")))
