"""The file that `init` writes: complete, true, and never over another one."""

import re
import tomllib
from pathlib import Path

import pytest

from eas_redirect.cli.init_command import template
from eas_redirect.configuration.config import Config, load_config
from eas_redirect.configuration.problems import known_keys
from tests.cli.running import run

EXAMPLE = re.compile(r'# (\[.*|[a-z_]+ = .*|"(?:owa|ACCOUNTS).*)')


def uncommented() -> str:
    """The template with every example switched on."""
    return "\n".join(EXAMPLE.sub(r"\1", line) for line in template().splitlines())


def test_it_begins_by_observing_and_names_every_default(tmp_path: Path) -> None:
    (tmp_path / "forest.ldif").write_text("dn: DC=contoso,DC=example\n")
    file = tmp_path / "eas-redirect.toml"
    ran = run("init", str(file), "--snapshot", "forest.ldif")
    assert (ran.code, ran.out) == (0, f"{file}\n")
    assert "eas-redirect check" in ran.err

    written = load_config(file).model_dump()
    bare = tmp_path / "bare.toml"
    bare.write_text('mode = "observe"\n[directory]\nsnapshot = "forest.ldif"\n')
    assert written == load_config(bare).model_dump()


def test_every_key_stands_in_it() -> None:
    document = tomllib.loads(uncommented())
    for key in known_keys(Config):
        value: object = document
        for part in key.split("."):
            value = value[0] if isinstance(value, list) else value
            assert isinstance(value, dict)
            assert part in value, f"{key} is missing from the template"
            value = value[part]


def test_every_key_has_a_line_of_meaning() -> None:
    previous = ""
    for line in template().splitlines():
        if " = " in line and not line.startswith("# ") and previous:
            assert previous.startswith("#"), line
        previous = line


def test_what_the_proxy_needs_is_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    ran = run(
        "init", str(file), "--upstream", "https://ex07", "--upstream-ca", "ex07.pem",
        "--cert", "mail.pem", "--listen", "8443", "--metrics", "127.0.0.1:9410",
    )  # fmt: skip
    assert ran.code == 0
    document = tomllib.loads(file.read_text())
    wanted = {
        "upstream": "https://ex07",
        "upstream_ca": "ex07.pem",
        "cert": "mail.pem",
        "listen": "8443",
    }
    assert {key: document["proxy"][key] for key in wanted} == wanted
    assert document["metrics"]["listen"] == "127.0.0.1:9410"


def test_servers_are_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    run("init", str(file), "--server", "ldaps://dc1.contoso.example", "--server", "ldaps://dc2")
    document = tomllib.loads(file.read_text())
    assert document["directory"]["servers"] == ["ldaps://dc1.contoso.example", "ldaps://dc2"]


def test_the_proxy_is_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    run("init", str(file), "--upstream", "https://ex07.contoso.local",
        "--name", "mail.contoso.example", "--name", "eas.contoso.example")  # fmt: skip
    document = tomllib.loads(file.read_text())
    assert document["proxy"]["upstream"] == "https://ex07.contoso.local"
    assert document["exchange"]["host_names"] == ["mail.contoso.example", "eas.contoso.example"]


def test_it_overwrites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init").code == 0
    Path("eas-redirect.toml").write_text("mine")
    ran = run("init")
    assert ran.code == 2
    assert ran.out == ""
    assert "is there already" in ran.err
    assert Path("eas-redirect.toml").read_text() == "mine"


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    ran = run("init", str(tmp_path / "no" / "x.toml"))
    assert ran.code == 2
    assert "cannot be written" in ran.err


def test_values_that_cannot_be_right_are_named_and_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EAS_REDIRECT__PROXY__UPSTREAM", "https://ex07.contoso.local")
    options = {
        "--upstream": ("ex07.contoso.local", "is https://ex07.contoso.local meant?"),
        "--upstream-ca": (".", "is a folder: name a file in it"),
        "--cert": ("mail.pem", "there is no file"),
        "--listen": ("99999", "must be a port"),
        "--metrics": ("localhost", "must be host:port"),
        "--name": ("https://mail.contoso.example/", "write the host alone"),
        "--server": ("dc1.contoso.example", "must begin with ldaps://"),
    }
    words = [word for option, (value, _) in options.items() for word in (option, value)]
    ran = run("init", *words)
    assert (ran.code, ran.out) == (0, "eas-redirect.toml\n")
    for _, says in options.values():
        assert says in ran.err
    assert len(ran.err.splitlines()) == len(options) + 1, "of nothing that was not filled in"
    assert 'upstream = "ex07.contoso.local"' in Path("eas-redirect.toml").read_text("utf-8")


def test_what_is_no_file_to_write(tmp_path: Path) -> None:
    for file, says in (
        ("https://ex07.contoso.local", "is a URL and no file to write: name it with --upstream"),
        (
            str(tmp_path),
            f"is a folder: name a file in it, such as {tmp_path / 'eas-redirect.toml'}",
        ),
    ):
        ran = run("init", file)
        assert (ran.code, ran.out) == (2, "")
        assert says in ran.err
