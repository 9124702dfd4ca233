"""docs/deploy/kubernetes-haproxy.yaml: valid, and the names in it are those of the other file."""

from io import StringIO
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from tests.cli.running import run
from tests.support import ROOT

FOLDER = ROOT / "docs" / "deploy"


def deployment(name: str) -> dict[str, Any]:
    found = YAML(typ="safe").load_all(StringIO((FOLDER / name).read_text("utf-8")))
    return next(manifest for manifest in found if manifest["kind"] == "Deployment")


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.34"])
def test_kubernetes_accepts_it(version: str) -> None:
    kubernetes_validate.validate(deployment("kubernetes-haproxy.yaml"), version, strict=True)


def test_it_takes_the_place_of_the_other_one() -> None:
    ours, theirs = deployment("kubernetes-haproxy.yaml"), deployment("kubernetes.yaml")
    assert ours["metadata"] == theirs["metadata"]
    assert ours["spec"]["selector"] == theirs["spec"]["selector"]
    pod = ours["spec"]["template"]["spec"]
    ports = {p["name"]: p["containerPort"] for c in pod["containers"] for p in c.get("ports", ())}
    other = theirs["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert ports == {port["name"]: port["containerPort"] for port in other}
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        for word in container.get("args", ())[1:]:
            assert word.split("=")[0] in run(container["args"][0], "--help").out
