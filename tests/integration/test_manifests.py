"""docs/deploy/kubernetes.yaml: its configuration and its arguments, run as they are but for names,
addresses, paths and the directory."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.old_server import ANNA, BERT, OldServer, old_server
from tests.integration.processes import free_port
from tests.integration.running import PROGRAM, Running, wait_until
from tests.integration.test_bypass import another_authority, ask_plain, changed
from tests.test_deploy_files import the

pytestmark = pytest.mark.integration


@contextmanager
def pod(tmp_path: Path, old: OldServer) -> Iterator[Running]:
    container = the("Deployment")["spec"]["template"]["spec"]["containers"][0]
    port, pages = free_port(), free_port()
    text = changed(
        the("ConfigMap")["data"]["eas-redirect.toml"],
        {
            'mode = "observe"': 'mode = "enforce"',
            "https://ex07.contoso.local": old.url,
            "/run/secrets/eas-redirect/exchange-ca.pem": str(old.ca),
            "0.0.0.0:8443": f"127.0.0.1:{port}",
            "0.0.0.0:9410": f"127.0.0.1:{pages}",
        },
    )
    text = re.sub(r"\[directory\]\n(?:.+\n)+", f'[directory]\nsnapshot = "{old.snapshot}"\n', text)
    (tmp_path / "eas-redirect.toml").write_text(text)
    words = [word.replace("/etc/eas-redirect/", f"{tmp_path}/") for word in container["args"]]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    running = Running(process, tmp_path, port, pages)
    probe = container["readinessProbe"]["httpGet"]["path"]
    try:
        wait_until(lambda: running.page(probe)[0] == 200, "the pod is ready")
        yield running
    finally:
        running.end()


def probe(running: Running) -> int:
    container = the("Deployment")["spec"]["template"]["spec"]["containers"][0]
    return running.page(container["readinessProbe"]["httpGet"]["path"])[0]


def test_the_pod(tmp_path: Path) -> None:
    with old_server(tmp_path / "old") as old, pod(tmp_path, old) as running:
        assert ask_plain(running.port, ANNA) == 451
        assert ask_plain(running.port, BERT) == 200
        assert '"action":"eas.redirect"' in running.log, "the journal goes to standard output"
        # Without its directory it goes on carrying mail: there is no by-pass here.
        old.snapshot.unlink()
        assert probe(running) == 200
        assert ask_plain(running.port, BERT) == 200
        file = another_authority(tmp_path).issue("ex07", ("localhost", "127.0.0.1")).file
        old.tls.load_cert_chain(file)
        assert ask_plain(running.port, BERT) in (502, 503)
        wait_until(lambda: probe(running) == 503, "the pod says that it carries no mail")
        assert running.page("/health")[0] == 200, "another start would not help"
        old.tls.load_cert_chain(old.issued)
        wait_until(lambda: probe(running) == 200, "it carries mail again")
