"""Which mistakes are made in a function, and that each is made alone."""

from pathlib import Path
from types import FunctionType

from tests.mutants.__main__ import PACKAGE, ROOMS, accepted
from tests.mutants.mistakes import Mutant, mutants
from tests.support import ROOT

SOURCE = '''
class Gate:
    """Says who may pass."""

    def passes(self, age: int, names: list[str]) -> bool:
        """Whether they may."""
        if age < 18:
            return False
        if not names:
            return False
        return (age, names[0]) == (21, "anna") or all(name.isalpha() for name in names if name)

    def tried(self) -> None:
        try:
            self.count = 1
        except OSError:
            logger.warning("not %s", 1 < 2)
            raise ValueError("x" + "y") from None
'''


def made(tmp_path: Path) -> list[Mutant]:
    (tmp_path / "gate.py").write_text(SOURCE)
    return list(mutants(tmp_path / "gate.py", tmp_path))


def test_each_mistake_is_told(tmp_path: Path) -> None:
    found = {(m.function, m.before, m.after) for m in made(tmp_path)}
    assert {
        ("Gate.passes", "age < 18", "age <= 18"),
        ("Gate.passes", "not names", "names"),
        ("Gate.passes", "False", "True"),
        ("Gate.passes", "0", "1"),
        ("Gate.tried", "1", "2"),
    } <= found
    assert any("(names[0],) == ('anna',)" in after for _, _, after in found), "a part left out"
    assert any(" and all(" in after and " or all(" in before for _, before, after in found)
    turned = [b for _, b, a in found if "if age < 18" in b and a.index("not names") < a.index("18")]
    assert len(turned) == 1, "two checks that end the function change places"


def test_no_two_mistakes_have_one_name(tmp_path: Path) -> None:
    """A reason would excuse both."""
    source = "def far(a: int, b: int) -> bool:\n    return a - 1 > 0 or b - 1 > 0\n"
    (tmp_path / "far.py").write_text(source)
    found = [(m.before, m.after) for m in mutants(tmp_path / "far.py", tmp_path)]
    assert [after for before, after in found if before == "1"] == ["2", "2 (2)"]
    assert len(set(found)) == len(found)


def test_words_for_people_are_left_alone(tmp_path: Path) -> None:
    tried = [m for m in made(tmp_path) if m.function == "Gate.tried"]
    assert len(tried) == 2, "the number, and the exception let through"
    assert any(m.after.endswith("except OSError: raise") for m in tried)


def test_an_order_that_says_nothing_is_left_alone(tmp_path: Path) -> None:
    """Two constants are never equal to one thing at once, and what is true or false is so in any
    order."""
    source = """
def kind(token: int, name: str | None) -> object:
    if token == END:
        return 1
    if token == 0x05:
        return 2
    if name == END:
        return 3
    return name or "nobody"

def named(name: str | None) -> bool:
    return name is not None and name > "a"
"""
    (tmp_path / "kinds.py").write_text(source)
    found = {(m.before, m.after) for m in mutants(tmp_path / "kinds.py", tmp_path)}
    moved = [b for b, a in found if "return" in a and sorted(a) == sorted(b)]
    assert len(moved) == 1, "token and name may both be END"
    assert "if name == END" in moved[0]
    assert ("name or 'nobody'", "'nobody' or name") in found
    turned = [b for b, a in found if "and" in a and sorted(a.split()) == sorted(b.split())]
    assert turned == []


def test_a_mistake_takes_the_place_of_the_right_code(tmp_path: Path) -> None:
    names: dict[str, type] = {}
    exec(compile(SOURCE, "gate.py", "exec"), names)  # noqa: S102 - the source above
    passes = names["Gate"].__dict__["passes"]
    assert isinstance(passes, FunctionType)
    assert passes(None, 18, ["anna"]) is True
    wrong = next(m for m in made(tmp_path) if m.after == "age <= 18")
    passes.__code__ = wrong.code
    assert passes(None, 18, ["anna"]) is False
    assert passes(None, 19, ["anna"]) is True


def test_every_reason_is_that_of_a_mutant() -> None:
    """A reason whose code has changed since says nothing about the new code."""
    files = [path for room in ROOMS for path in (PACKAGE / room).rglob("*.py")]
    keys = {mutant.key for path in files for mutant in mutants(path, ROOT / "addon")}
    assert accepted().keys() - keys == set()
    assert all(len(reason.split()) > 2 for reason in accepted().values())


def test_a_docstring_is_no_part_of_a_mistakes_name(tmp_path: Path) -> None:
    """It may be written better without a reason being lost."""
    keys = [m.key for m in made(tmp_path)]
    (tmp_path / "gate.py").write_text(SOURCE.replace('"""Whether they may."""', '"""Whether."""'))
    assert [m.key for m in mutants(tmp_path / "gate.py", tmp_path)] == keys
    assert not any("Whether" in text for key in keys for text in key)
