"""What `check` knows of mitmproxy is true of the mitmproxy that is installed."""

import asyncio
from pathlib import Path

import pytest
from mitmproxy.options import Options
from mitmproxy.tools.dump import DumpMaster

from eas_redirect.checking import local
from eas_redirect.checking.local import _ON
from eas_redirect.configuration.config import Config, load_config
from eas_redirect.engine import quick
from eas_redirect.engine.replaced import WITHOUT_FIXES
from eas_redirect.fixes import http1
from eas_redirect.judging.ended_waits import EndedWaits, beside
from eas_redirect.proxy import open_waits, profile


def test_a_mitmproxy_that_fits_is_said_and_another_one_with_what_then_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [check] = local._check_fixes()
    assert check.state == "good"
    monkeypatch.setattr(quick.EVENTS, "known", ())
    [check] = local._check_fixes()
    assert (check.state, "slower: events" in check.finding) == ("warning", True)
    monkeypatch.setattr(http1.FIXES, "known", ())
    [check] = local._check_fixes()
    assert check.state == "warning"
    assert all(fault in check.finding for fault in WITHOUT_FIXES)


def configuration(folder: Path, directory: str, more: str = "") -> Config:
    (folder / "eas.toml").write_text(
        f"mode = \"observe\"\n[directory]\nservers = ['ldaps://dc1']\n{directory}\n{more}"
    )
    return load_config(folder / "eas.toml", environment={})


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("svc@contoso.example", True),
        (r"CONTOSO\svc", True),
        ("CN=svc,CN=Users,DC=contoso,DC=example", True),
        ("uid=svc, dc=contoso", True),
        ("2.5.4.3=svc", True),
        ("svc", False),
        ("svc account", False),
        ("CONTOSO/svc", False),
        (r"CONTOSO\svc@contoso.example", False),
        ("svc@", False),
    ],
)
def test_a_bind_name_of_no_known_form_is_told_with_the_forms(
    tmp_path: Path, name: str, is_known: bool
) -> None:
    (tmp_path / "password").write_text("Example-Passw0rd")
    text = f"bind_user = '{name}'\npassword_file = 'password'"
    checks = [
        check
        for check in local.check_files(configuration(tmp_path, text))
        if check.subject == "directory.bind_user"
    ]
    assert [check.state for check in checks] == ([] if is_known else ["warning"])
    assert all(name in check.finding and "user@domain" in check.finding for check in checks)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("Example-Passw0rd", None),
        ("Example-Passw0rd\r\n", None),
        ("Example Passw0rd\n\n", None),
        ("it's", None),
        ('"', None),
        ("\ufeffExample-Passw0rd\n", None),
        ('"Example-Passw0rd"\n', "in quotes"),
        ("'Example-Passw0rd'", "in quotes"),
        ("Example-Passw0rd \n", "blanks"),
        ("\tExample-Passw0rd", "blanks"),
        ("Example-Passw0rd\nsecond\n", "more lines"),
        ("\nExample-Passw0rd\n", "more lines"),
    ],
)
def test_what_hardly_belongs_to_a_password_is_told_and_not_the_password(
    tmp_path: Path, content: str, finding: str | None
) -> None:
    file = tmp_path / "password"
    text = f"bind_user = 'svc@contoso.example'\npassword_file = '{file}'"
    for encoding in ("utf-8", "utf-16"):
        file.write_text(
            content.removeprefix("\ufeff") if encoding == "utf-16" else content,
            encoding,
            newline="",
        )
        file.chmod(0o600)
        checks = [
            check
            for check in local.check_files(configuration(tmp_path, text))
            if check.subject == "directory.password_file" and check.state != "good"
        ]
        assert [str(finding) in check.finding for check in checks] == [True] * bool(finding)
    assert not any("Passw0rd" in f"{check.finding}{check.advice}" for check in checks)


@pytest.mark.parametrize(
    ("listen", "is_open"),
    [
        ("127.0.0.1:9410", False),
        ("[::1]:9410", False),
        ("10.0.0.5:9410", False),
        ("0.0.0.0:9410", True),
        ("[::]:9410", True),
    ],
)
def test_pages_that_every_network_reaches_are_told(
    tmp_path: Path, listen: str, is_open: bool
) -> None:
    text = f"[metrics]\nlisten = '{listen}'"
    found = local.check_files(configuration(tmp_path, "bind = 'anonymous'", text))
    checks = [check for check in found if check.subject == "metrics.listen"]
    assert [check.state for check in checks] == (["warning"] if is_open else [])
    assert all("127.0.0.1:9410" in str(check.advice) for check in checks)


def test_the_options_that_do_harm_are_off_by_default_but_these() -> None:
    loop = asyncio.new_event_loop()
    options = Options()
    DumpMaster(options, loop=loop, with_termlog=False)
    loop.close()
    on = {h.option for h in profile.HAZARDS if options._options[h.option].default is True}
    assert on == _ON


def test_waits_that_cannot_be_ended_are_told_before_they_are_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(journal: str) -> tuple[str, str]:
        more = f"[journal]\npath = '{journal}'\n[redirect]\nend_waits = 'ping'"
        (check,) = local._check_ended_waits(configuration(tmp_path, "bind = 'anonymous'", more))
        return check.state, check.finding

    path = str(tmp_path / "journal.jsonl")
    assert list(local._check_ended_waits(configuration(tmp_path, "bind = 'anonymous'"))) == []
    assert found(path) == ("good", f"{beside(path)} keeps what was ended")
    assert not beside(path).exists()
    EndedWaits(path).claim(["a"])
    assert found(path)[0] == "good"
    beside(path).write_text("somebody else's", "utf-8")
    assert found(path)[0] == "warning"
    assert "damaged or another program's" in found(path)[1]
    for stream in ("-", "/dev/stdout"):
        state, finding = found(stream)
        assert (state, "standard output" in finding) == ("warning", True)
    monkeypatch.setattr(open_waits._STEP, "known", ())
    assert any("no wait can be ended" in check.finding for check in local._check_fixes())
