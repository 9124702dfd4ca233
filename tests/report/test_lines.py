"""What a line of a journal becomes: its class, its times, its keys."""

from pathlib import Path

import pytest

from eas_redirect.report.inputs import find_sources
from eas_redirect.report.lines import LineClass
from eas_redirect.report.store import open_store

NEWEST_MS = 1_775_000_000_000
WHEN = '"@timestamp": "2026-03-02T08:00:00.500Z"'


def lines_of(tmp_path: Path, columns: str, *texts: str) -> list[tuple[object, ...]]:
    (tmp_path / "some.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    with open_store(find_sources([str(tmp_path)]), NEWEST_MS) as (connection, _):
        rows: list[tuple[object, ...]] = connection.execute(
            f"SELECT {columns} FROM lines ORDER BY ts"  # noqa: S608 - columns named below
        ).fetchall()
        return rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{{{WHEN}, "event": {{"action": "eas.exchange"}}}}', LineClass.EXCHANGE),
        (f'{{{WHEN}, "event": {{"action": "eas.would_redirect"}}}}', LineClass.EXCHANGE),
        (f'{{{WHEN}, "event": {{"action": "eas.autodiscover"}}}}', LineClass.DISCOVERY),
        (f'{{{WHEN}, "event": {{"action": "eas.wait"}}}}', LineClass.WAIT),
        (f'{{{WHEN}, "event": {{"action": "eas.of_tomorrow"}}}}', LineClass.EVENT),
        ('{"@timestamp": "soon", "event": {"action": "eas.exchange"}}', LineClass.UNTIMED),
        (
            '{"@timestamp": "1999-12-31T23:59:59Z", "event": {"action": "eas.exchange"}}',
            LineClass.UNTIMED,
        ),
        (
            '{"@timestamp": "2126-03-02T08:00:00Z", "event": {"action": "eas.exchange"}}',
            LineClass.FUTURE,
        ),
        (
            f'{{{WHEN}, "event": {{"action": "eas.exchange"}},'
            ' "http": {"request": {"method": "head"}}}',
            LineClass.NO_PHONE,
        ),
    ],
)
def test_a_line_has_its_class(text: str, expected: LineClass, tmp_path: Path) -> None:
    assert lines_of(tmp_path, "class", text) == [(expected,)]


def test_another_programs_line_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "some.jsonl").write_text(
        f'{{{WHEN}, "event": {{"action": "login"}}}}\n{{{WHEN}, "event": {{"act\n', "utf-8"
    )
    with open_store(find_sources([str(tmp_path)]), NEWEST_MS) as (connection, lines):
        assert connection.execute("SELECT count(*) FROM lines").fetchall() == [(0,)]
    assert (lines.foreign, lines.torn) == (1, 1)


def test_it_began_when_the_client_sent_it(tmp_path: Path) -> None:
    text = f'{{{WHEN}, "event": {{"action": "eas.exchange", "duration": 20250000000}}}}'
    assert lines_of(tmp_path, "ts - began", text) == [(20_250,)]


def test_a_hyphen_is_what_a_log_does_not_know(tmp_path: Path) -> None:
    text = (
        f'{{{WHEN}, "event": {{"action": "eas.exchange"}}, "user": {{"name": "-"}},'
        ' "eas": {"device": {"id": "-", "type": ""}, "protocol_version": "14.1"}}'
    )
    found = lines_of(tmp_path, "user_name, key, device_id, device_type, version", text)
    assert found == [(None, None, None, None, "14.1")]


def test_the_host_of_a_redirect_is_compared_without_port_and_case(tmp_path: Path) -> None:
    text = (
        f'{{{WHEN}, "event": {{"action": "eas.redirect"}},'
        ' "eas": {"redirect": {"location": "https://EAS.Fabrikam.example:444/x?y"}}}'
    )
    assert lines_of(tmp_path, "location_host", text) == [("eas.fabrikam.example",)]
