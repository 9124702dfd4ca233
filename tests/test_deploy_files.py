"""docs/deploy/kubernetes.yaml: valid by Kubernetes's own schema, and it agrees with itself."""

import tomllib
from io import StringIO
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from eas_redirect.config import Config
from tests.cli.running import run
from tests.support import ROOT

PATH = ROOT / "docs" / "deploy" / "kubernetes.yaml"
KINDS = {
    "ConfigMap", "Secret", "Deployment", "Service", "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
}  # fmt: skip


def manifests() -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(StringIO(PATH.read_text("utf-8"))))


def the(kind: str) -> dict[str, Any]:
    return next(m for m in manifests() if m["kind"] == kind)


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.34"])
def test_kubernetes_accepts_them(version: str) -> None:
    found = manifests()
    assert {manifest["kind"] for manifest in found} == KINDS
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_manifest_would_be_noticed() -> None:
    manifest = the("Deployment")
    manifest["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_its_configuration_has_known_keys_only() -> None:
    text = the("ConfigMap")["data"]["eas-redirect.toml"]
    tables = tomllib.loads(text)
    known = Config.model_fields
    for name, value in tables.items():
        assert name in known
        if isinstance(value, dict):
            table = known[name].annotation
            assert set(value) <= set(getattr(table, "model_fields", value))


def test_ports_probes_and_times_agree() -> None:
    pod = the("Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    arguments = container["args"]
    configuration = tomllib.loads(the("ConfigMap")["data"]["eas-redirect.toml"])
    assert f"--listen=0.0.0.0:{ports['activesync']}" in arguments
    assert configuration["metrics"]["listen"] == f"0.0.0.0:{ports['metrics']}"
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "metrics"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "metrics"}
    stop_s = next(int(a.partition("=")[2]) for a in arguments if a.startswith("--stop-timeout"))
    assert 8 + stop_s + 5 < pod["terminationGracePeriodSeconds"]
    assert (
        the("PodDisruptionBudget")["spec"]["minAvailable"] < the("Deployment")["spec"]["replicas"]
    )


def test_the_arguments_are_those_of_run() -> None:
    arguments = the("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    known = run("run", "--help").out
    before = arguments[1 : arguments.index("--")]
    assert arguments[0] == "run"
    assert all(word.partition("=")[0] in known for word in before)
