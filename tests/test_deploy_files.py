"""docs/deploy/kubernetes.yaml: valid by Kubernetes's own schema, and it agrees with itself."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from io import StringIO
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from eas_redirect.configuration.config import Config
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
    configuration = tomllib.loads(the("ConfigMap")["data"]["eas-redirect.toml"])
    assert configuration["proxy"]["listen"] == f"0.0.0.0:{ports['activesync']}"
    assert configuration["metrics"]["listen"] == f"0.0.0.0:{ports['metrics']}"
    assert container["readinessProbe"]["httpGet"] == {
        "path": "/ready?for=mail",
        "port": "metrics",
    }
    assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "metrics"}
    stop_s = configuration["proxy"]["stop_timeout_s"]
    assert 8 + stop_s + 5 < pod["terminationGracePeriodSeconds"]


def test_pods_go_one_at_a_time_and_grow_within_their_limits() -> None:
    deployment, scaler = the("Deployment")["spec"], the("HorizontalPodAutoscaler")["spec"]
    assert the("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert "replicas" not in deployment, "applying the file again would undo the autoscaler's work"
    assert scaler["minReplicas"] > 1
    resources = deployment["template"]["spec"]["containers"][0]["resources"]
    targets = {m["resource"]["name"]: m["resource"]["target"] for m in scaler["metrics"]}
    assert targets["cpu"]["averageUtilization"] < 100
    grows_from = mebibytes(targets["memory"]["averageValue"])
    limit = mebibytes(resources["limits"]["memory"])
    assert mebibytes(resources["requests"]["memory"]) < grows_from < 0.75 * limit


def mebibytes(quantity: str) -> int:
    number, unit = int(quantity[:-2]), quantity[-2:]
    return number * {"Mi": 1, "Gi": 1024}[unit]


def test_what_is_read_is_mounted_and_what_is_written_has_a_place() -> None:
    pod = the("Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    words = "\n".join(container["args"]) + "\n" + the("ConfigMap")["data"]["eas-redirect.toml"]
    files = set(re.findall(r"(/(?:etc|run)/[\w./-]+)", words))
    held = {
        f"{path}/{key}"
        for path, mount in mounts.items()
        for key in contents(volumes[mount["name"]])
    }
    assert files == held
    assert container["securityContext"]["readOnlyRootFilesystem"]
    [home] = [entry["value"] for entry in container["env"] if entry["name"] == "HOME"]
    assert "emptyDir" in volumes[mounts[home]["name"]]
    assert not mounts[home].get("readOnly")
    assert tomllib.loads(the("ConfigMap")["data"]["eas-redirect.toml"])["journal"]["path"] == "-"


def contents(volume: dict[str, Any]) -> set[str]:
    if "configMap" in volume:
        return set(the("ConfigMap")["data"])
    return set(the("Secret")["stringData"]) if "secret" in volume else set()


def test_the_image_is_made_of_what_it_copies(tmp_path: Path) -> None:
    """The program installs from the files that the Containerfile names, and starts as it says."""
    lines = (PATH.parent / "Containerfile").read_text("utf-8").splitlines()
    copied = [
        line.split()[1:] for line in lines if line.startswith("COPY ") and "--from" not in line
    ]
    for *sources, target in copied:
        assert target.startswith("/src/")
        for source in sources:
            here, there = ROOT / source, tmp_path / target.removeprefix("/src/")
            if here.is_dir():
                shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(here, there / source)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    wheel = zipfile.ZipFile(next((tmp_path / "dist").glob("*.whl")))
    assert "eas_redirect/redirect.py" in wheel.namelist()
    [scripts] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert 'ENTRYPOINT ["eas-redirect"]' in lines
    assert "\neas-redirect = " in wheel.read(scripts).decode()
    user = the("Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in lines


def test_the_arguments_are_those_of_run() -> None:
    arguments = the("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    known = run("run", "--help").out
    assert arguments[0] == "run"
    assert all(word.partition("=")[0] in known for word in arguments[1:])
