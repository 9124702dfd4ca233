"""Words that no option takes: one line that names the option, exit code 2, nothing done."""

from pathlib import Path

import pytest

from tests.cli.running import run


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("run other.toml", "Name the settings with --config: --config other.toml."),
        ("run other.toml --listen 8443", "--config other.toml."),
        ("run other.toml -- -w flows", "--config other.toml."),
        ("run https://ex07.contoso.local", "--upstream https://ex07.contoso.local."),
        ("run more.py", "more.py: no option takes this word. "),
        ("run --mode enforce", "The mode stands in the settings"),
        ("run --mode=observe", "The mode stands in the settings"),
        ("run --mode regular", "put it behind `--`"),
        ("check other.toml", "--config other.toml."),
        ("check anna@contoso.example", "--user 'anna@contoso.example'."),
        (r"check CONTOSO\anna", r"--user 'CONTOSO\anna'."),
        ("check anna", "eas-redirect check --help shows"),
        ("health 127.0.0.1:9410", "--at 127.0.0.1:9410."),
        ("health http://127.0.0.1:9410/", "--at 127.0.0.1:9410."),
        ("judge other.toml", "--config other.toml."),
        ("haproxy other.toml", "--config other.toml."),
        ("explain anna other.toml", "--config other.toml."),
        ("plan users.csv more.csv", "more.csv: no option takes this word. "),
        ("init one.toml two.toml", "two.toml: no option takes this word. "),
        ("redact a.flows b.flows -o c.flows", "b.flows: no option takes this word. "),
    ],
)
def test_what_was_meant_is_said(
    words: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EAS_REDIRECT__MODE", "observe")
    ran = run(*words.split())
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert says in ran.err
    assert list(tmp_path.iterdir()) == []


def test_what_stands_behind_dashes_is_for_mitmdump(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (
        ("MODE", "observe"),
        ("PROXY__UPSTREAM", "https://ex07.contoso.local"),
        ("DIRECTORY__SERVERS", "['ldaps://dc1.contoso.example']"),
        ("DIRECTORY__BIND", "anonymous"),
    ):
        monkeypatch.setenv(f"EAS_REDIRECT__{key}", value)
    ran = run("run", "-c", "env:", "--print-command", "--", "-w", "other.toml", "~u Sync")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith(" -w other.toml '~u Sync'\n")
