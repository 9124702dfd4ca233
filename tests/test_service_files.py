"""docs/service: systemd accepts and rates the unit; logrotate costs no line of the journal."""

import http.client
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from eas_redirect.configuration.config import ProxyConfig
from tests.cli.running import run as command
from tests.integration.device import PATH
from tests.integration.running import Running, run, wait_until
from tests.integration.waiting import waiting_exchange
from tests.support import DATA, ROOT, require

FOLDER = ROOT / "docs" / "service"
UNIT = FOLDER / "eas-redirect.service"
UNITS = sorted(FOLDER.glob("*.service"))


def with_a_program_that_exists(tmp_path: Path, unit: Path = UNIT) -> Path:
    """`systemd-analyze` looks whether ExecStart's program is there."""
    path = tmp_path / unit.name
    text = unit.read_text("utf-8")
    programs = (
        r"(?m)^(Exec\w+=)(/opt/eas-redirect/bin/eas-redirect (?:run|judge) |/usr/sbin/haproxy )"
    )
    text, count = re.subn(programs, r"\1/bin/true ", text)
    assert count >= 1
    path.write_text(text)
    return path


def analyze(*arguments: str | Path) -> str:
    require("systemd-analyze")
    result = subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    assert len(UNITS) == 3
    paths = [with_a_program_that_exists(tmp_path, unit) for unit in UNITS]
    said = analyze("verify", "--man=no", *paths)
    assert [path.name for path in paths if path.name in said] == [], said


def test_the_judges_unit_is_as_hardened_as_that_of_run(tmp_path: Path) -> None:
    """It holds no port, so that it needs no capability at all; its words are those of the docs."""
    judge = FOLDER / "eas-redirect-judge.service"
    ratings = []
    for unit in (UNIT, judge):
        path = with_a_program_that_exists(tmp_path, unit)
        said = analyze("security", "--offline=true", path)
        found = re.search(r"exposure level for \S+: ([\d.]+)", said)
        assert found is not None, said
        ratings.append(float(found[1]))
    assert ratings[1] <= ratings[0]
    stated = re.search(r"(?m)^TimeoutStopSec=(\d+)$", judge.read_text("utf-8"))
    assert stated is not None
    assert int(stated[1]) > ProxyConfig.model_fields["stop_timeout_s"].default


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")
def test_each_unit_may_read_what_install_md_puts_into_etc(tmp_path: Path) -> None:
    """A Group= replaces the user's own group, and /etc/eas-redirect is for that one alone."""
    said = (ROOT / "docs" / "install.md").read_text("utf-8")
    assert "install -d -m 0750 -g eas-redirect /etc/eas-redirect\n" in said
    assert "install -m 0640 -g eas-redirect eas-redirect.toml mail.pem" in said
    ids = {"eas-redirect": 61_001, "haproxy": 61_002}
    folder = Path(tempfile.mkdtemp(prefix="eas-etc-", dir="/tmp"))
    try:
        settings = folder / "eas-redirect.toml"
        settings.write_text("mode")
        for path, mode in ((folder, 0o750), (settings, 0o640)):
            os.chown(path, 0, ids["eas-redirect"])
            path.chmod(mode)
        for unit in UNITS:
            text = unit.read_text("utf-8")
            user, group, further = (
                next(iter(re.findall(rf"(?m)^{key}=(\S+)$", text)), "")
                for key in ("User", "Group", "SupplementaryGroups")
            )
            ran = subprocess.run(
                ["cat", str(settings)], capture_output=True, text=True, check=False,
                user=ids[user], group=ids[group or user],
                extra_groups=[ids[further]] if further else [],
            )  # fmt: skip
            assert ran.stdout == "mode", (unit.name, ran.stderr)
    finally:
        shutil.rmtree(folder)


def test_the_unit_is_as_hardened_as_the_docs_say(tmp_path: Path) -> None:
    said = analyze("security", "--offline=true", with_a_program_that_exists(tmp_path))
    found = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= 1.5
    assert f"`systemd-analyze security` rates it {found[1]}" in (
        ROOT / "docs" / "install.md"
    ).read_text("utf-8")


def test_the_units_own_words_run_with_its_environment(tmp_path: Path) -> None:
    """ExecStart and the environment file as they are shipped, but for the folders."""
    (tmp_path / "forest.ldif").write_bytes((DATA / "migration.ldif").read_bytes())
    (tmp_path / "mail.pem").write_text("-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----")
    config = tmp_path / "eas-redirect.toml"
    made = command("init", str(config), "--snapshot", "forest.ldif",
                   "--upstream", "https://ex07.contoso.local")  # fmt: skip
    assert made.code == 0, made.err
    config.write_text(config.read_text().replace("# cert = ", "cert = "))
    shipped = re.sub(r"(?m)^# (?=EAS_|MITMDUMP)", "", (FOLDER / "environment").read_text())
    shipped = shipped.replace("/etc/eas-redirect/mail.contoso.example.pem", "mail.pem")
    environment = dict(shlex.split(line)[0].split("=", 1) for line in shipped.splitlines()
                       if line and not line.startswith("#"))  # fmt: skip
    start = re.search(r"^ExecStart=\S+ (.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    assert start is not None
    words = start[1].replace("/etc/eas-redirect/eas-redirect.toml", str(config))
    words = words.replace("$MITMDUMP", environment.pop("MITMDUMP"))
    name, *arguments = shlex.split(words)
    ran = command(name, "--print-command", *arguments, environment=environment)
    assert ran.code == 0, ran.err
    assert "--mode reverse:https://ex07.contoso.local --listen-port 443" in ran.out
    assert f"--certs '*={tmp_path}/mail.pem'" in ran.out
    assert ran.out.endswith("--set tls_version_client_min=TLS1\n")
    without = words.removesuffix("--set tls_version_client_min=TLS1").split()
    assert without[-1] == "--", "an unset MITMDUMP is no word at all"
    assert command(name, "--print-command", *without[1:]).code == 0


def ask(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    connection.request("POST", f"{PATH}?Cmd=Sync&User=anna&DeviceId=D&DeviceType=P", body=b"x")
    assert connection.getresponse().status == 200
    connection.close()


def asked(running: Running) -> bool:
    ask(running)
    return True


@pytest.mark.integration
def test_logrotate_loses_no_line(tmp_path: Path) -> None:
    """With the file of the docs, on our journal; without its signal, which needs the service."""
    require("logrotate")
    journal = tmp_path / "run" / "journal.jsonl"
    text = (FOLDER / "logrotate").read_text("utf-8")
    text = (
        text.replace("/var/log/eas-redirect/*.jsonl /var/log/eas-redirect/*.log", str(journal))
        .replace("delaycompress", "nodelaycompress")
        .replace("    compress\n", "    nocompress\n")
    )
    text = re.sub(r"    (su|create) .*\n", "", text)
    text = re.sub(r"(?s)    sharedscripts.*endscript\n", "", text)
    rules = tmp_path / "rules"
    rules.write_text(text)
    rules.chmod(0o644)
    logrotate = shutil.which("logrotate", path="/usr/sbin:/sbin:/usr/bin")
    assert logrotate is not None
    with waiting_exchange() as exchange, run(tmp_path / "run", exchange.url) as running:
        journal.parent.chmod(0o755)
        for number in range(1, 4):
            for _ in range(5):
                ask(running)
            wait_until(lambda: running.exchanges() >= 5, "the lines before the rotation")
            subprocess.run(
                [logrotate, "--force", "--state", str(tmp_path / "state"), str(rules)],
                check=True, timeout=60,
            )  # fmt: skip
            assert (journal.parent / f"journal.jsonl.{number}").exists()
            # Nothing is in flight, so that the next line opens the new file within a second.
            wait_until(lambda: asked(running) and running.exchanges() >= 1, "a new journal")
    lines = sum(
        text.count('"eas.exchange"')
        for text in (path.read_text() for path in journal.parent.glob("journal.jsonl*"))
    )
    assert lines == exchange.served
