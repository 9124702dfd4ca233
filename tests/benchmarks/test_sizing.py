"""The sizing table of docs/reference.md follows from one phone, which is measured."""

from pathlib import Path

import pytest

from tests.benchmarks.sizing import (
    DOCUMENTED,
    DOCUMENTED_OF_HAPROXY,
    HAPROXY_MB,
    HTTP,
    INSIDE,
    SUPERVISOR_MB,
    TLS,
    Legs,
    described,
    main,
    measure,
    table,
)
from tests.support import ROOT, require

PAGE = (ROOT / "docs" / "reference.md").read_text("utf-8")


def test_the_table_is_computed_from_what_is_said_of_one_phone() -> None:
    section = PAGE.partition("## How much machine\n")[2].partition("\n## ")[0]
    shown = [line for line in section.splitlines() if line[:3].strip("| ").isdecimal()]
    assert shown == list(table())
    figures = [f"{costs.phone_kb:g} kB" for costs in DOCUMENTED.values()]
    times = [f"{costs.arrival_ms:g} ms" for costs in DOCUMENTED.values()]
    assert f"| {' | '.join(figures)} |" in section
    assert f"| {' | '.join(times)} |" in section
    assert f"{DOCUMENTED[HTTP].process_mb:g} MB by itself" in section
    assert f"{SUPERVISOR_MB:g} MB" in section
    figures = [f"{costs.phone_kb:g} kB" for costs in DOCUMENTED_OF_HAPROXY.values()]
    times = [f"{costs.arrival_ms:g} ms" for costs in DOCUMENTED_OF_HAPROXY.values()]
    assert f"| {' | '.join(figures)} |" in section
    assert f"| {' | '.join(times)} |" in section
    assert f"{HAPROXY_MB:g} MB by themselves" in section
    of_ten_thousand = HAPROXY_MB + 10 * DOCUMENTED_OF_HAPROXY[TLS].phone_kb
    assert f"some {-(-of_ten_thousand // 10) * 10:.0f} MB" in section


@pytest.mark.integration
@pytest.mark.parametrize("legs", [HTTP, INSIDE, TLS], ids=lambda legs: legs.name)
def test_a_short_measurement(tmp_path: Path, legs: Legs) -> None:
    """Twenty phones say nothing about memory, and may cost less CPU than the system's clock can
    tell; but two descriptors each they have."""
    costs = measure(tmp_path, legs, 20)
    assert costs.descriptors == 2
    assert costs.process_mb > 30
    assert costs.arrival_ms >= 0
    assert described(legs, costs).startswith(f"{legs.name}: a process ")


@pytest.mark.integration
def test_a_short_measurement_of_haproxy(tmp_path: Path) -> None:
    require("haproxy")
    costs = measure(tmp_path, TLS, 20, "haproxy")
    assert costs.descriptors == 2
    assert costs.process_mb > 30


def test_more_phones_than_descriptors_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--phones", "2000000000"]) == 2
    assert "the limit of descriptors here allows" in capsys.readouterr().err
