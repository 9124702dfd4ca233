"""Lines that landed in a table that is not theirs, as when `# ` is taken from some lines alone."""

from pathlib import Path

import pytest

from eas_redirect.cli.init_command import template
from eas_redirect.configuration.config import ConfigError, load_config


def problems(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "people.ldif").write_text("dn: DC=contoso,DC=example\n")
    (tmp_path / "pilot.txt").write_text("anna\n")
    file = tmp_path / "e.toml"
    file.write_text(text)
    try:
        load_config(file, environment={})
    except ConfigError as error:
        return [problem.removeprefix(f"{tmp_path}/") for problem in error.problems]
    return []


def uncommented(*lines: str) -> str:
    """What `init` writes, with these lines of it no comment any more."""
    text = template()
    for line in ("snapshot = ", *lines):
        begin = text.index(f"\n# {line}") + 1
        text = text[:begin] + text[begin + 2 :]
    return text.replace('"forest.ldif"', '"people.ldif"')


@pytest.mark.parametrize(
    ("lines", "head"),
    [
        (["users = ["], "[redirect.only]"),
        (["percent = 10"], "[redirect.only]"),
        (['users = ["ceo'], "[redirect.except]"),
        (['networks = ["198'], "[redirect.except]"),
        (["name = "], "[[redirect.relationships]]"),
        (["target_owa_url"], "[[redirect.relationships]]"),
        (['"owa.contoso'], "[redirect.hosts]"),
        (['"ACCOUNTS"'], "[directory.account_domains]"),
        (["[redirect.only]", 'users = ["anna', 'device_types = ["Win'], "[redirect.except]"),
    ],
)
def test_a_key_whose_head_is_still_a_comment(tmp_path: Path, lines: list[str], head: str) -> None:
    text = uncommented(*lines)
    [found] = problems(tmp_path, text)
    number = text.splitlines().index(f"# {head}") + 1
    assert f"stands below {head} (line {number}), which is a comment: remove its # too" in found


def test_somebody_who_is_to_stay_does_not_get_into_the_wave(tmp_path: Path) -> None:
    """It would be a good file that redirects the one whom it names as an exception."""
    base = 'mode = "observe"\n[directory]\nsnapshot = "people.ldif"\n[redirect.only]\n'
    wave = 'users_file = "pilot.txt"\n'
    [found] = problems(tmp_path, f'{base}{wave}# [redirect.except]\nusers = ["ceo"]\n')
    assert found.startswith(
        "e.toml:7: redirect.only.users: stands below [redirect.except] (line 6)"
    )
    assert found.endswith("or move this line above it")
    for good in (
        f'{base}{wave}users = ["ceo"]\n# [redirect.except]\n',
        f'{base}{wave}# [redirect.only]\nusers = ["ceo"]\n',
        f'# [redirect.except]\n{base}users = ["ceo"]\n',
        f'{base}{wave}# [redirect.except]\n[redirect.except]\nusers = ["ceo"]\n',
    ):
        assert problems(tmp_path, good) == [], good


def test_the_mode_below_a_table(tmp_path: Path) -> None:
    text = '[directory]\nsnapshot = "people.ldif"\n[judge]\nmode = "observe"\n'
    found = problems(tmp_path, text)
    assert "mode: is not said" in found[0]
    assert found[-1] == (
        "e.toml:4: judge.mode: stands below [judge]: move the line to the top of the file,"
        " above every [table]"
    )


def test_a_name_with_a_backslash_in_double_quotes(tmp_path: Path) -> None:
    for name in ("bruno", "tom", "nina", "fred", "rita"):
        text = uncommented("[redirect.only]", 'users = ["anna').replace(
            "'CONTOSO\\bert'", f'"CONTOSO\\{name}"'
        )
        [found] = problems(tmp_path, text)
        assert "single quotes" in found, name


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('[exchange]\nhost_names = ["https://mail.contoso.example/"]',
         "exchange.host_names[0]: is a URL: write the host alone, as in mail.contoso.example"),
        ('[redirect]\nallowed_hosts = ["https://outlook.office365.com"]',
         "redirect.allowed_hosts[0]: is a URL: write the host alone, as in outlook.office365.com"),
        ('[proxy]\nupstream = "ex07.contoso.local"', "is https://ex07.contoso.local meant?"),
        ('[proxy]\nupstream = "https://ex07:444/owa"', "is https://ex07:444 meant?"),
        ('[proxy]\nupstream = "https://anna:Passw0rd@ex07/owa"', "such as https://ex07.contoso.loc"),
        ("[metrics]\nlisten = 9410", 'must be host:port: write "127.0.0.1:9410"'),
        ('[metrics]\nlisten = "9410"', 'must be host:port: write "127.0.0.1:9410"'),
        ("[exchange]\nmin_protocol_version = 12.1", "'16.0' or '16.1', with the quotes"),
        ("[redirect]\nend_waits = true", "must be 'off', 'ping' or 'ping_and_sync', with the q"),
        ('[redirect]\nonly = ["anna"]', "must be a table: write [redirect.only] on a line of its"),
        ('[redirect.only]\nusers = ["anna, bert"]', 'each its own quotes, as in ["anna", "bert"]'),
        ("[redirect.only]\npercent = 10%", "write the number alone: percent = 10"),
        ('[redirect.only]\npercent = "10%"', "must be a number, without quotes and without %"),
    ],
)  # fmt: skip
def test_what_people_write_is_told_as_what_to_write(tmp_path: Path, line: str, told: str) -> None:
    head = 'mode = "observe"\n[directory]\nsnapshot = "people.ldif"\n'
    [found] = problems(tmp_path, f"{head}{line}\n")
    assert told in found
    assert "Passw0rd" not in found
