"""Where a configuration is said: TOML's own errors, the environment, and what goes before what."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.configuration.config import Config, ConfigError, load_config
from eas_redirect.configuration.kinds import Listen
from eas_redirect.configuration.problems import is_text_key, leaves
from eas_redirect.configuration.sources import (
    ENVIRONMENT_ALONE,
    PREFIX,
    AllSources,
    key_lines,
    set_by_environment,
    take_in_document,
)

HEAD = 'mode = "observe"\n[directory]\nsnapshot = "people.ldif"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "people.ldif").write_text("dn: DC=contoso,DC=example\n")
    file = tmp_path / "e.toml"
    file.write_text(HEAD)
    return file


def load(file: Path, **environment: str) -> Config:
    return load_config(file, environment=environment)


def problems(file: Path, text: str | None = None, **environment: str) -> list[str]:
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, environment=environment)
    return [problem.replace(f"{file.parent}/", "") for problem in caught.value.problems]


# -- TOML's grammar -------------------------------------------------------------------------------

GRAMMAR = [
    ("default_domain = CORP", 'e.toml:5: write text in quotes: default_domain = "CORP"'),
    ("default_domain = CORP\\x", "e.toml:5: write text in quotes: default_domain = 'CORP\\x'"),
    ("default_domain = “CORP”", "e.toml:5: write straight quotes"),
    ("default_domain = ‘CORP’", "e.toml:5: write straight quotes"),
    ('default_domain = "CORP\\svc"', "e.toml:5: a backslash in double quotes begins an escape:"
     " use single quotes around CORP\\svc: 'CORP\\svc'"),
    ('default_domain = "C\\Users"', "use single quotes around C\\Users: 'C\\Users'"),
    ('default_domain = "C\\xyz"', "use single quotes around C\\xyz: 'C\\xyz'"),
    ('default_domain = "CORP', 'e.toml:5: default_domain: the text is not closed: write " behind'),
    ("default_domain =", "e.toml:5: default_domain has no value"),
    ("default_domain", "e.toml:5: default_domain has no value"),
    ('default_domain: "CORP"', "e.toml:5: write = between a key and its value"),
    ('default_domain "CORP"', "e.toml:5: write = between a key and its value"),
    ("host_names = [a, b]", "e.toml:5: host_names: write each item of a list in quotes"),
    ('host_names = ["a" "b"]', "e.toml:5: host_names: write each item of a list in quotes"),
    ('host_names = "a", "b"', 'e.toml:5: host_names: something stands behind the text; a list'),
    ('host_names = [\n"a"\n"b"\n]', "e.toml:7: host_names: a comma is missing"),
    ('host_names = [\n"a",\nx = 1', "e.toml:5: host_names: a list is not closed"),
    ('host_names = [\n"a",\n[cache]', "e.toml:5: host_names: a list is not closed"),
    ('default_domain = """\na', "e.toml:5: default_domain: a text of several lines is not closed"),
    ("weak_statuses = [True]", "e.toml:5: weak_statuses: write each item"),
    ("weak_statuses = 04", "e.toml:5: weak_statuses: is no number as TOML writes it"),
    ("default_domain = yes", "e.toml:5: write default_domain = true"),
    ("default_domain = True", "e.toml:5: write default_domain = true"),
    ("; a comment", "e.toml:5: a comment begins with #"),
    ("// a comment", "e.toml:5: a comment begins with #"),
    ("[cache", "e.toml:5: a table's head is written as [name]"),
    ("[directory]", "e.toml:5: the table [directory] stands here a second time"),
    ('host_names = []\nhost_names = ["a"]', "e.toml:6: host_names is given a second time"),
    ("hosts = { a = 1", "e.toml:5: hosts: a table in one line is written as"),
    ("= 3", "e.toml:5: is no line of TOML: write key = value"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), GRAMMAR, ids=[line for line, _ in GRAMMAR])
def test_an_error_of_grammar_says_what_to_write_instead(
    file: Path, line: str, expected: str
) -> None:
    found = problems(file, f"{HEAD}[exchange]\n{line}\n")
    assert any(problem.startswith(expected) or expected in problem for problem in found), found
    assert [p for p in found if p.startswith(expected.partition(": ")[0])] or ":" in expected
    assert len(found) <= 2, "one error is told once"


def test_errors_of_grammar_and_of_values_are_told_at_once(file: Path) -> None:
    text = 'mode = observe\n[directory]\nsnapshot = "people.ldif"\nverify = True\npool_size = 0\n'
    assert problems(file, text) == [
        'e.toml:1: write text in quotes: mode = "observe"',
        "e.toml:4: write verify = true",
        "e.toml:5: directory.pool_size: must be at least 1",
    ]


def test_a_table_that_cannot_be_read_spoils_no_other(file: Path) -> None:
    assert problems(file, f'{HEAD}[redirect.only\nusers = ["anna"]\n') == [
        "e.toml:4: a table's head is written as [name] on a line of its own"
    ]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_a_configuration_or_problems_in_our_own_words(text: str) -> None:
    lines = key_lines(text)
    assert all(line >= 1 for line in lines.values())


WORDS_OF_OTHERS = ("Input should", "validation", "pydantic", "Expected '", "Invalid", "Unescaped")


@given(
    st.lists(
        st.sampled_from(
            ["mode", "=", "[", "]", '"', "'", "\\", "x", "\n", ",", "{", "}", "#", "[directory]\n",
             "servers", "1", "1.5", "true", '"""', "snapshot = 'people.ldif'\n", " ", ".", "é"]
        ),
        max_size=30,
    )
)  # fmt: skip
def test_no_sentence_of_a_librarys_comes_through(parts: list[str]) -> None:
    folder = Path(__file__).parent.parent / "data"
    text = "".join(parts)
    said = AllSources(folder / "e.toml")
    take_in_document(said, text)
    for problem in said.problems:
        assert not any(word in problem.text for word in WORDS_OF_OTHERS), problem


# -- the environment ------------------------------------------------------------------------------


def test_the_environment_goes_before_the_file_and_an_option_before_it(file: Path) -> None:
    environment = {"EAS_REDIRECT__MODE": "enforce", "EAS_REDIRECT__CACHE__FOUND_S": "7"}
    assert load(file, **environment).mode == "enforce"
    assert load(file, **environment).cache.found_s == 7
    config = load_config(file, {"mode": "observe"}, environment)
    assert (config.mode, config.cache.found_s) == ("observe", 7)


VALUES = [
    ("MODE", "enforce", "mode", "enforce"),
    ("MODE", '"enforce"', "mode", "enforce"),
    ("PROXY__LISTEN", "8443", "proxy.listen", Listen("", 8443)),
    ("PROXY__UPSTREAM", "https://ex07.contoso.local", "proxy.upstream",
     "https://ex07.contoso.local"),
    ("PROXY__WORKERS", "2", "proxy.workers", 2),
    ("EXCHANGE__MIN_PROTOCOL_VERSION", "12.1", "exchange.min_protocol_version", "12.1"),
    ("EXCHANGE__DEFAULT_DOMAIN", "CONTOSO", "exchange.default_domain", "CONTOSO"),
    ("EXCHANGE__HOST_NAMES", '["mail.contoso.example"]', "exchange.host_names",
     ("mail.contoso.example",)),
    ("DIRECTORY__VERIFY", "false", "directory.verify", False),
    ("DIRECTORY__BIND_USER", "CONTOSO\\eas", "directory.bind_user", "CONTOSO\\eas"),
    ("REDIRECT__EXCEPT__USERS", "['CONTOSO\\nina']", "redirect.except_.users",
     ("CONTOSO\\nina",)),
    ("REDIRECT__HOSTS", '{ "a.example" = "b.example" }', "redirect.hosts",
     {"a.example": "b.example"}),
    ("JOURNAL__PATH", "-", "journal.path", "-"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "key", "expected"), VALUES, ids=[v[0] for v in VALUES])
def test_a_key_by_the_environment(
    file: Path, name: str, value: str, key: str, expected: object
) -> None:
    got: object = load(file, **{PREFIX + name: value})
    for part in key.split("."):
        got = getattr(got, part)
    assert got == expected


def test_every_key_can_be_set_and_a_relative_path_is_relative_to_the_file(file: Path) -> None:
    for key, kind in leaves(Config).items():
        name = PREFIX + key.upper().replace(".", "__")
        assert set_by_environment({name: "x"}) == (key,)
        found = problems(file, None, **{name: "\x07"}) if is_text_key(kind) else []
        assert all("unknown" not in problem for problem in found)
    (file.parent / "mail.pem").write_text("x")
    config = load(file, EAS_REDIRECT__PROXY__CERT="mail.pem")
    assert config.proxy.cert == file.parent / "mail.pem"


REFUSED = [
    ({"EAS_REDIRECT__MOD": "observe"}, "EAS_REDIRECT__MOD: unknown key; did you mean EAS_RE"),
    ({"EAS_REDIRECT_MODE": "observe"}, "EAS_REDIRECT_MODE: did you mean EAS_REDIRECT__MODE?"),
    ({"EAS_REDIRECT_REDIRECT__EXCEPT__USERS": "x"}, "mean EAS_REDIRECT__REDIRECT__EXCEPT__USERS?"),
    (
        {"EASREDIRECT__REDIRECT_ONLY__USERS": "x"},
        "did you mean EAS_REDIRECT__REDIRECT__ONLY__USERS?",
    ),
    ({"eas_redirect_proxy_upstream_ca": "x"}, "did you mean EAS_REDIRECT__PROXY__UPSTREAM_CA?"),
    ({"EAS_REDIRECT__ZZZ__X": "1"}, "EAS_REDIRECT__ZZZ__X: unknown key"),
    ({"EAS_REDIRECT__PROXY": "{}"}, "EAS_REDIRECT__PROXY: names a table: set its keys one by one"),
    ({"EAS_REDIRECT__REDIRECT__RELATIONSHIPS__NAME": "x"}, "unknown key"),
    ({"eas_redirect__mode": "observe"}, "write it in capitals: EAS_REDIRECT__MODE"),
    ({"EAS_REDIRECT__MODE": " "}, "EAS_REDIRECT__MODE: is empty: give it a value, or do not set"),
    ({"EAS_REDIRECT__MODE": "enforced"}, "EAS_REDIRECT__MODE: mode: must be 'observe' or 'enfo"),
    ({"EAS_REDIRECT__MODE": '"observe'}, "EAS_REDIRECT__MODE: the quotes do not close"),
    ({"EAS_REDIRECT__EXCHANGE__HOST_NAMES": "mail"}, 'is no TOML value: write a list as ["a"'),
    ({"EAS_REDIRECT__PROXY__WORKERS": "2\nx = 1"}, "WORKERS: is no TOML value"),
    ({"EAS_REDIRECT__PROXY__WORKERS": "two"}, "WORKERS: is no TOML value"),
    ({"EAS_REDIRECT__PROXY__WORKERS": "0"}, "WORKERS: proxy.workers: must be at least 1"),
    ({"EAS_REDIRECT__DIRECTORY__PASSWORD": "bind-Passw0rd"}, "a password never stands in this"),
]


@pytest.mark.parametrize(("environment", "expected"), REFUSED, ids=[str(r[0]) for r in REFUSED])
def test_what_the_environment_says_wrongly(
    file: Path, environment: dict[str, str], expected: str
) -> None:
    found = problems(file, None, **environment)
    assert len(found) == 1
    assert expected in found[0]
    assert "Passw0rd" not in found[0]


def test_a_secret_of_another_name_is_nobodys_key(file: Path) -> None:
    assert load(file, EAS_REDIRECT_PASSWORD="x", PATH="y").mode == "observe"


def test_what_kubernetes_says_of_a_service_of_our_name_is_no_key(file: Path) -> None:
    said = {"EAS_REDIRECT_SERVICE_HOST": "10.0.0.9", "EAS_REDIRECT_PORT_443_TCP": "tcp://10.0.0.9"}
    assert load(file, **said).mode == "observe"


def test_the_environment_alone_when_that_is_said(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    environment = {PREFIX + "MODE": "observe", PREFIX + "DIRECTORY__SNAPSHOT": "people.ldif"}
    config = load_config(ENVIRONMENT_ALONE, environment=environment)
    assert config.directory.snapshot == file.parent / "people.ldif"
    with pytest.raises(ConfigError, match="the environment: mode: is not said"):
        load_config(ENVIRONMENT_ALONE, environment={PREFIX + "DIRECTORY__SNAPSHOT": "people.ldif"})
    file.unlink()
    assert "there is no such file" in problems(file, None, **environment)[0]
