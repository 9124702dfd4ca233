"""The floors of `make coverage`: which rooms there are, and what falls below."""

from tests.floors import OTHERS, Lines, below, floors, rooms
from tests.test_house import LOOSE, PACKAGE


def report(**files: tuple[int, int]) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    counts = {
        f"addon/eas_redirect/{name}.py": {"summary": {"num_statements": all_, "covered_lines": run}}
        for name, (all_, run) in files.items()
    }
    return {"files": counts}


def test_a_room_is_the_sum_of_its_files() -> None:
    files = {"policy/a": (10, 5), "policy/b": (30, 30), "directory/ldap/c": (4, 1)}
    found = rooms(report(**files))
    assert found == {"policy": Lines(40, 35), "directory/ldap": Lines(4, 1)}
    assert found["policy"].percent == 87.5


def test_what_falls_below_is_named() -> None:
    found = {"policy": Lines(100, 89), "lab": Lines(100, 90), "new": Lines(10, 1)}
    assert below(found, {"policy": 90, "lab": 90, OTHERS: 50}) == [
        "new is below its floor of 50 %: 10.0 %",
        "policy is below its floor of 90 %: 89.0 %",
    ]


def test_every_floor_is_that_of_a_room() -> None:
    names = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert set(floors()) - names - LOOSE - {"directory/ldap"} == {OTHERS}
