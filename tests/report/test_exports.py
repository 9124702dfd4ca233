"""JSON, CSV and the page say the same, and no cell does anything."""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

from eas_redirect.report.exports import csv_rows, json_pieces, report_csv, report_json
from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.page import report_page
from eas_redirect.report.report_values import Report
from eas_redirect.telemetry.printable import number
from tests.report.simulator import write_journal
from tests.report.test_figures import MONTH, journal, report

__all__ = ["journal", "report"]  # fixtures


def test_page_json_and_csv_agree(report: Report) -> None:
    truths = Counter(MONTH.truths().values())
    truths["seen"] += 1  # the probe
    as_json = json.loads(json.dumps(report_json(report)))
    rows = list(csv.DictReader(io.StringIO("".join(report_csv(report.devices)))))
    page = report_page(report)
    assert as_json["totals"]["states"] == dict(truths)
    assert Counter(row["state"] for row in as_json["devices"]) == truths
    assert Counter(row["state"] for row in rows) == truths
    last = as_json["states_over_time"][-1]
    users = last.pop("users")
    assert last == {"at": as_json["until"], **truths}
    assert users == dict(truths)  # one device each
    assert sum(row["devices"] for row in as_json["old_server"]["still_calling"]) == sum(
        row["silent_s"] < 7 * 86400 for row in as_json["devices"] if row["device_id"] != "Probe"
    )
    tiles = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)<", page))
    assert tiles == {
        "Devices seen": number(truths.total()),
        "Redirected": number(as_json["totals"]["devices_redirected"]),
        "Followed": number(truths["quiet"] + truths["confirmed"]),
        "Came back": number(truths["returned"]),
        "Stuck": number(truths["stuck"]),
    }
    for group in ("by_wave", "by_device_type", "by_client_family"):
        assert sum(row["stuck"] for row in as_json[group]) == truths["stuck"]
        assert sum(row["devices"] for row in as_json[group]) == truths.total()


def test_json_in_pieces_is_the_same_json(report: Report, tmp_path: Path) -> None:
    nobody = write_journal(tmp_path / "nobody.jsonl", [])
    for made in (report, make_report(find_sources([str(nobody)]), report.now_s)):
        text = "".join(json_pieces(made))
        assert json.loads(text) == json.loads(json.dumps(report_json(made)))
        assert max(map(len, json_pieces(made))) < 100_000


def test_no_cell_becomes_a_formula() -> None:
    values = ["=1", "+1", "-1", "@x", "|calc", "\t=1", " =1", "\xa0|x", "\uff1d1", "\n=1"]
    rows = list(csv.reader(io.StringIO("".join(csv_rows(["a"], iter([{"a": v} for v in values]))))))
    assert all(row[0].startswith("'") for row in rows[1:]), rows
    harmless = ["anna", "a=b", "a|b", "12", "", "王小明"]
    text = "".join(csv_rows(["a"], iter([{"a": value} for value in harmless])))
    assert ["".join(row) for row in list(csv.reader(io.StringIO(text)))[1:]] == harmless
    assert next(csv_rows(["a", "b"], iter([{"a": "x;y", "b": 1}]), ";")) == 'a;b\r\n"x;y";1\r\n'
