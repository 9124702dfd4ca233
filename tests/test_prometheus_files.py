"""docs/prometheus: promtool accepts the rules, and nobody asks for a metric that does not exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from eas_redirect.engine.supervisor import Supervisor
from eas_redirect.telemetry.metrics import Metrics, metric_families
from tests.support import ROOT, require

FOLDER = ROOT / "docs" / "prometheus"
NAME = re.compile(r"\b(?:eas|process)_[a-z_]+\b")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
# prometheus-client's ProcessCollector, and what has no sample before the first reading.
FURTHER = {
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "eas_relationships_age_seconds",
}


def known() -> set[str]:
    supervisor = Supervisor([], workers=2, stop_timeout_s=1.0, metrics_listen=None)
    every = (*metric_families(Metrics()), *supervisor._own_metrics())
    return FURTHER | {f"{f.name}{suffix}" for f in every for suffix in SUFFIXES[f.type]}


def expressions() -> list[str]:
    dashboard: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text("utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def promtool(*arguments: str | Path) -> None:
    require("promtool")
    result = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_rules_name_existing_metrics() -> None:
    text = (FOLDER / "rules.yml").read_text("utf-8")
    asked = set(NAME.findall(text))
    assert len(asked) > 8
    assert asked <= known()


def test_the_dashboard_names_existing_metrics() -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 12
    assert asked <= known()


def test_every_label_value_in_a_query_exists() -> None:
    metrics = Metrics()
    states = {
        s.labels["state"]
        for f in metric_families(metrics)
        for s in f.samples
        if "state" in s.labels
    }
    asked = set(
        re.findall(r'state="(\w+)"', (FOLDER / "grafana.json").read_text().replace("\\", ""))
    )
    assert asked
    assert asked <= states


def test_promtool_accepts_the_files(tmp_path: Path) -> None:
    for name in ("rules.yml", "rules.test.yml", "prometheus.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    promtool("check", "config", tmp_path / "prometheus.yml")
    promtool("check", "rules", tmp_path / "rules.yml")
    promtool("test", "rules", tmp_path / "rules.test.yml")


def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$instance", ".*")}
        for number, expression in enumerate(expressions())
    ]
    path = tmp_path / "panels.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", path)
