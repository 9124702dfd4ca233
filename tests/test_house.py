"""The rules of the house that no linter knows: who imports whom."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "addon" / "eas_redirect"
MODULES = sorted(PACKAGE.rglob("*.py"))
LOOSE = {"__init__.py", "__main__.py", "addon.py", "shim.py"}
# They import the standard library and what stands before them, and so need nothing to be tested.
PURE = (
    "activesync",
    "autodiscover",
    "directory/names.py",
    "directory/sight.py",
    "directory/values.py",
    "policy",
)
MITMPROXY = ("addon.py", "proxy", "fixes", "engine", "captures", "redaction", "view", "lab")
# Nor may these import it indirectly: HAProxy's judge runs without mitmproxy.
WITHOUT_MITMPROXY = (*PURE, "haproxy", "judging", "directory", "configuration")
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


def room(module: Path) -> str:
    """The first of PURE that the module is in."""
    return next(place for place in PURE if is_in(module, (place,)))


def graph() -> dict[str, set[str]]:
    """Each of our modules with those that it imports, at the top or when called."""
    modules = {dotted(m): m for m in MODULES}
    found: dict[str, set[str]] = {}
    for own, module in modules.items():
        targets = found[own] = set()
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                targets.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                members = {f"{node.module}.{alias.name}" for alias in node.names}
                targets.update((members & modules.keys()) or {node.module or ""})
        targets.intersection_update(modules)
    return found


def dotted(module: Path) -> str:
    parts = module.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def test_only_the_ways_in_are_outside_the_rooms() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == LOOSE


@pytest.mark.parametrize("module", [m for m in MODULES if is_in(m, PURE)], ids=name)
def test_pure_rooms_import_the_standard_library_and_each_other_downwards(module: Path) -> None:
    below = PURE[: PURE.index(room(module)) + 1]
    for imported in imports(module):
        top = imported.split(".")[0]
        if top == "eas_redirect":
            target = PACKAGE.parent / imported.replace(".", "/")
            assert is_in(target, below) or is_in(target.with_suffix(".py"), below), imported
        else:
            assert top in sys.stdlib_module_names


@pytest.mark.parametrize(
    ("library", "places"),
    [("mitmproxy", MITMPROXY), ("ldap3", LDAP3), ("duckdb", DUCKDB)],
)
def test_a_library_is_imported_only_where_it_belongs(library: str, places: tuple[str, ...]) -> None:
    assert [m for m in importers(library) if not is_in(PACKAGE / m, places)] == []


def test_mitmproxy_is_not_imported_through_another_room() -> None:
    direct = {dotted(PACKAGE / m) for m in importers("mitmproxy")}
    needed = graph()
    for start in [dotted(m) for m in MODULES if is_in(m, WITHOUT_MITMPROXY)]:
        reached, ahead = set[str](), [start]
        while ahead:
            if (here := ahead.pop()) not in reached:
                assert here not in direct, f"{start} imports mitmproxy through {here}"
                reached.add(here)
                ahead += needed[here]


def test_nothing_imports_the_command_line() -> None:
    """But what runs it."""
    outside = [m for m in importers("eas_redirect.cli") if not m.startswith("cli/")]
    assert outside == ["__main__.py"]


def test_no_module_imports_itself_through_others() -> None:
    """Imports made when a function is called count, too: they only hide a circle."""
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_room_imports_itself_through_others() -> None:
    """`directory` opens what `directory/ldap` is: a room within it."""
    between: dict[str, set[str]] = {}
    for module, targets in graph().items():
        between.setdefault(room_of(module), set()).update(room_of(target) for target in targets)
    try:
        TopologicalSorter({a: rooms - {a} for a, rooms in between.items()}).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def room_of(module: str) -> str:
    """`eas_redirect.policy.decision` → `policy`; what is in no room is one by itself."""
    return (*module.split("."), "")[1]


# What is no test of a module but of whole programs, or of what several rooms do together.
WHOLE = ("benchmarks", "fuzz", "haproxy", "integration", "mutants")


def test_each_test_file_is_called_after_what_it_tests() -> None:
    """`test_wbxml_another_decoder.py` tests `wbxml.py`."""
    strays = []
    for test in sorted((ROOT / "tests").glob("*/**/test_*.py")):
        home = test.parent.relative_to(ROOT / "tests")
        modules = {m.stem for m in (PACKAGE / home).glob("*.py")}
        words = test.stem.split("_")[1:]
        if home.parts[0] not in WHOLE and not modules.intersection(
            "_".join(words[:n]) for n in range(1, len(words) + 1)
        ):
            strays.append(test.relative_to(ROOT).as_posix())
    assert strays == []


# What is tested by another file, and why.
TESTED_ELSEWHERE = {
    "activesync/exchange.py": "values only",
    "checking/everything.py": "the order of `check`: cli/test_check_command.py",
    "cli/lab_command.py": "starts a whole lab: integration/test_lab.py",
    "cli/tables.py": "a console, by what it prints: cli/test_common.py",
    "lab/personas.py": "data; what comes of it: integration/test_lab.py",
    "lab/runner.py": "the whole lab: integration/test_lab.py",
    "policy/verdict.py": "values only",
    "proxy/exchanges.py": "through the hooks: test_addon.py",
    "report/report_values.py": "values only",
    "shim.py": "cli/test_script_command.py",
    "__main__.py": "cli/test_main_help.py",
    "addon.py": "test_addon.py",
}


def test_each_module_has_a_test_file_of_its_name() -> None:
    """Whoever changes one finds what holds it."""
    tested: set[str] = set()
    for test in (ROOT / "tests").glob("*/**/test_*.py"):
        home = test.parent.relative_to(ROOT / "tests").as_posix()
        words = test.stem.removeprefix("test_").split("_")
        stems = ["_".join(words[:n]) for n in range(len(words), 0, -1)]
        modules = [
            f"{home}/{stem}.py" for stem in stems if (PACKAGE / home / f"{stem}.py").exists()
        ]
        tested.update(modules[:1])
    names = {name(module) for module in MODULES if module.name != "__init__.py"}
    assert names - tested - TESTED_ELSEWHERE.keys() == set()
    assert TESTED_ELSEWHERE.keys() & tested == set(), "it has one now"
    assert TESTED_ELSEWHERE.keys() - names == set(), "there is no such module"


def test_each_module_says_what_it_is_for() -> None:
    trees = {name(module): ast.parse(module.read_text("utf-8")) for module in MODULES}
    assert [module for module, tree in trees.items() if not ast.get_docstring(tree)] == []


def test_no_file_name_stands_twice() -> None:
    named = Counter(m.name for m in MODULES if m.name != "__init__.py")
    assert [name for name, times in named.items() if times > 1] == []


def test_no_public_type_has_the_name_of_another() -> None:
    """Classes and aliases: whoever looks for one finds one."""
    places: dict[str, list[str]] = {}
    for module in MODULES:
        for found in types(ast.parse(module.read_text("utf-8"))):
            places.setdefault(found, []).append(name(module))
    assert {found: at for found, at in places.items() if len(at) > 1} == {}


def test_no_public_function_has_the_name_of_another() -> None:
    """grep finds one. The function of a command is called as the command is."""
    places: dict[str, list[str]] = {}
    for module in MODULES:
        if not module.name.endswith("_command.py"):
            for function in ast.parse(module.read_text("utf-8")).body:
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    places.setdefault(function.name, []).append(name(module))
    twice = {found: at for found, at in places.items() if len(at) > 1}
    assert {found: at for found, at in twice.items() if not found.startswith("_")} == {}


def types(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.ClassDef(name=found) | ast.TypeAlias(name=ast.Name(id=found)):
                yield from () if found.startswith("_") else (found,)
            case ast.Assign(targets=[ast.Name(id=found)]) if found[0].isupper():
                yield from () if found.isupper() else (found,)  # `NewType`, `Annotated`
