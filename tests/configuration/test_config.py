"""eas-redirect.toml: defaults, every problem at once with its place, what the rooms get of it."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eas_redirect.configuration.config import (
    LISTED_PREFIXES,
    Config,
    ConfigError,
    brake,
    cache_settings,
    directory_settings,
    load_config,
    policy,
)
from eas_redirect.configuration.kinds import Listen
from eas_redirect.configuration.problems import known_keys
from eas_redirect.configuration.sources import Override
from eas_redirect.directory.values import AccountDomain, CacheSettings
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.exchange_online import DEFAULT_HOST_MAP
from eas_redirect.policy.verdict import DiscoveryPolicy
from eas_redirect.policy.waves import Wave, user_names

SNAPSHOT = '[directory]\nsnapshot = "people.ldif"\n'
SERVERS = '[directory]\nservers = ["ldaps://dc1.contoso.example"]\nbind = "anonymous"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "people.ldif").write_text("dn: DC=contoso,DC=example\n")
    (tmp_path / "password").write_text("bind-Passw0rd-of-the-proxy\n")
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "pilot.txt").write_text("\ufeff# pilot\nAnna@contoso.example\n", encoding="utf-8")
    (tmp_path / "empty").write_text("")
    return tmp_path


def load(folder: Path, text: str, overrides: dict[str, Override] | None = None) -> Config:
    """`text` may leave the mode out."""
    path = folder / "eas-redirect.toml"
    mode = "" if "mode =" in text else 'mode = "enforce"\n'
    path.write_text(mode + text, encoding="utf-8")
    return load_config(path, overrides)


def problems(
    folder: Path, text: str, overrides: dict[str, Override] | None = None
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, overrides)
    return tuple(p.replace(f"{folder}/", "") for p in caught.value.problems)


def test_the_defaults(folder: Path) -> None:
    config = load(folder, SNAPSHOT)
    assert config.mode == "enforce"
    assert config.exchange.weak_statuses == (403,)
    assert config.directory.snapshot == folder / "people.ldif"
    assert config.journal.path == str(folder / "eas-journal.jsonl")
    assert config.metrics.listen is None
    assert config.proxy.upstream is None
    assert config.proxy.listen == Listen("", 443)
    assert config.judge.servers == ("unix:/run/eas-redirect/judge.sock",)
    assert len(config.autodiscover.listed) == 28
    assert cache_settings(config) == CacheSettings()
    discovery = DiscoveryPolicy(listed=LISTED_PREFIXES)
    assert policy(config) == Policy(host_map=dict(DEFAULT_HOST_MAP), discovery=discovery)


def test_every_key(folder: Path) -> None:
    config = load(
        folder,
        """
        mode = "observe"
        [exchange]
        host_names = ["EAS.contoso.example", "bücher.example", "eas"]
        trusted_proxies = ["10.0.0.0/8", "::1"]
        default_domain = "CONTOSO"
        min_protocol_version = "2.5"
        weak_statuses = [403, 500]
        [directory]
        servers = ["ldaps://dc1.contoso.example:3269", "ldaps://[2001:db8::1]", "ldaps://192.0.2.1"]
        ca_file = "ca.pem"
        verify = true
        bind = "simple"
        bind_user = "eas@contoso.example"
        password_file = "password"
        search_base = "DC=contoso,DC=example"
        configuration_base = "CN=Configuration,DC=contoso,DC=example"
        connect_timeout_s = 1
        lookup_timeout_s = 2.5
        pool_size = 8
        no_mailboxes_here = true
        watch_s = 60
        account_domains = { ACCOUNTS = "same_name", "b.example" = ["ldaps://dc1.b.example"] }
        [cache]
        found_s = 1
        not_found_s = 2
        relationships_s = 3
        stale_s = 0
        max_entries = 5
        [redirect]
        end_waits = "ping"
        allowed_hosts = ["*.Office365.com", "bücher.example"]
        hosts = { mail = "mail.contoso.example", "outlook.com" = "outlook.contoso.example" }
        [[redirect.relationships]]
        name = "Own"
        domain_names = ["Cloud.example"]
        target_owa_url = "http://outlook.com/owa"
        enabled = false
        [redirect.only]
        users = ["CONTOSO\\\\bert"]
        users_file = "pilot.txt"
        percent = 12.5
        device_types = ["iPhone*"]
        networks = ["192.0.2.0/24"]
        [redirect.except]
        percent = 1
        [journal]
        path = "-"
        exchanges = "decisions"
        users = "hash"
        hash_key_file = "password"
        iis_path = "iis.log"
        [metrics]
        listen = "[::1]:9410"
        host_names = ["Proxy.contoso.example"]
        [proxy]
        upstream = "https://ex07.contoso.local/"
        listen = "[::1]:8443"
        cert = "ca.pem"
        upstream_ca = "ca.pem"
        upstream_name = "Mail.contoso.example"
        workers = 2
        engine = "safe"
        stop_timeout_s = 5
        [autodiscover]
        phones = "listed"
        listed = ["Pixel"]
        weak = true
        [judge]
        listen = "unix:judge.sock"
        servers = ["127.0.0.1:9411", "unix:judge.sock"]
        """,
    )
    made = policy(config)
    assert made.own_names == {"eas.contoso.example", "xn--bcher-kva.example", "eas"}
    assert made.allowed_hosts == ("*.office365.com", "xn--bcher-kva.example")
    assert made.host_map["mail"] == "mail.contoso.example"
    assert made.host_map["outlook.com"] == "outlook.contoso.example"
    assert made.host_map["www.outlook.com"] == "outlook.office365.com"
    assert made.relationships[0].domain_names == ("cloud.example",)
    assert made.relationships[0].source == "configuration"
    assert made.wave.only.users == user_names(["CONTOSO\\bert", "Anna@contoso.example"])
    assert made.wave.only.device_types == ("iphone*",)
    assert made.wave.exclude.kinds == ("percent",)
    settings = directory_settings(config)
    assert settings.servers[0] == "ldaps://dc1.contoso.example:3269"
    assert settings.password_file == str(folder / "password")
    assert settings.default_domain == "CONTOSO"
    assert config.journal.path == "-"
    assert config.journal.iis_path == folder / "iis.log"
    assert config.proxy.upstream == "https://ex07.contoso.local"
    assert config.proxy.listen == Listen("::1", 8443)
    assert config.proxy.upstream_name == "mail.contoso.example"
    assert config.metrics.host_names == ("proxy.contoso.example",)
    assert config.judge.listen == f"unix:{folder / 'judge.sock'}"
    assert config.judge.servers == ("127.0.0.1:9411", f"unix:{folder / 'judge.sock'}")
    assert config.directory.account_domains == {
        "ACCOUNTS": "same_name",
        "b.example": ("ldaps://dc1.b.example",),
    }
    assert settings.account_domains == (
        AccountDomain(name="ACCOUNTS"),
        AccountDomain(name="b.example", servers=("ldaps://dc1.b.example",)),
    )


def test_the_mode_must_be_said(folder: Path) -> None:
    path = folder / "eas-redirect.toml"
    path.write_text(SNAPSHOT)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    [problem] = caught.value.problems
    assert problem.splitlines() == [
        f"{path}: mode: is not said. Write one of these two lines at the top of the file,",
        "or set EAS_REDIRECT__MODE to one of the two words:",
        '    mode = "observe"    # decides and journals, changes nothing',
        '    mode = "enforce"    # redirects',
    ]
    assert load_config(path, {"mode": "observe"}).mode == "observe"


def test_all_problems_at_once_each_with_its_line(folder: Path) -> None:
    found = problems(
        folder,
        "\n".join(
            [
                'mode = "enforced"',
                "",
                "[directory]",
                "# several lines",
                "servers = [",
                '  "ldaps://dc1.contoso.example",',
                '  "https://dc2.contoso.example",',
                "]",
                'pool_size = "4"',
                "[redirect.only]",
                "percent = 101",
            ]
        ),
    )
    assert [problem.partition(": ")[0] for problem in found] == [
        f"eas-redirect.toml:{line}" for line in (1, 3, 3, 5, 9, 11)
    ]
    assert "directory.servers[1]: must begin with ldaps:// or ldap://" in found[3]


CASES = [
    ("dircetory = 1", "dircetory: unknown key; did you mean directory?"),
    ("[exchange]\nmin_protocl_version = '14.0'", "did you mean exchange.min_protocol_version?"),
    ("[directory]\nmin_protocol_version = '14.0'", "did you mean exchange.min_protocol_version?"),
    ("[redirect.only]\nuser = ['a']", "did you mean redirect.only.users?"),
    ("[zzz]\nx = 1", "zzz: unknown key"),
    ("[redirect.only]\nzzz = 1", "redirect.only.zzz: unknown key"),
    ("directory = 3", "directory: must be a table"),
    ("[exchange]\nhost_names = 'a'", "exchange.host_names: must be a list in brackets"),
    ("[exchange]\nhost_names = ['a b']", "exchange.host_names[0]: is no host name"),
    ("[exchange]\nhost_names = [3]", "exchange.host_names[0]: must be text in quotes"),
    ("[exchange]\ntrusted_proxies = ['10.0.0.1/8']", "is 10.0.0.0/8 meant?"),
    ("[exchange]\ntrusted_proxies = ['all']", "is no network"),
    ("[exchange]\ndefault_domain = 'a\\b'", "exchange.default_domain: is no NetBIOS or DNS name"),
    ("[exchange]\nmin_protocol_version = '13'", "must be '2.5', '12.0'"),
    ("[exchange]\nmin_protocol_version = 14.0", "min_protocol_version: must be '2.5', '12.0'"),
    ("[exchange]\nweak_statuses = [200]", "must be at least 400"),
    ("[exchange]\nweak_statuses = [401]", "401 has a meaning of its own"),
    ("[exchange]\nweak_statuses = [true]", "must be a whole number"),
    ("[cache]\nfound_s = -1", "cache.found_s: must be at least 0"),
    ("[cache]\nfound_s = nan", "cache.found_s: must be"),
    ("[cache]\nmax_entries = 0", "cache.max_entries: must be at least 1"),
    ("[redirect]\nallowed_hosts = []", "redirect.allowed_hosts"),
    ("[redirect]\nallowed_hosts = ['a/b']", "redirect.allowed_hosts[0]: may hold letters"),
    ("[redirect.hosts]\nmail = '192.0.2.1'", "redirect.hosts.mail: is no host name"),
    ("[redirect.hosts]\n'a b' = 'mail.contoso.example'", "redirect.hosts.a b: is no host name"),
    (
        "[[redirect.relationships]]\nname = 'x'",
        "redirect.relationships[0].domain_names: is required",
    ),
    ("[redirect.only]\nusers_file = 'no.txt'", "redirect.only.users_file: there is no file no.txt"),
    (
        "[redirect.only]",
        "redirect.only: names nobody: name somebody, or remove the table if everybody is meant",
    ),
    (
        "[redirect.except]",
        "redirect.except: names nobody: name somebody, or remove the table if no",
    ),
    ("[redirect.only]\nusers = []", "only.users: names nobody: name somebody, or remove the table"),
    ("[redirect.only]\nusers = []\npercent = 5", "redirect.only.users: names nobody"),
    ("[redirect.except]\nnetworks = []", "redirect.except.networks: names nobody"),
    ("[redirect.except]\npercent = 0", "redirect.except.percent: names nobody"),
    ("[redirect.only]\nusers_file = 'empty'", "redirect.only.users_file: empty: names nobody"),
    ('[redirect.except]\nusers = ["CORP\\nina"]', "redirect.except.users[0]: holds a control"),
    ('[redirect.except]\nusers = ["CORP\\nina"]', "use single quotes"),
    ("[redirect.except]\nusers = ['*@x.example']", "redirect.except.users[0]: is not one name"),
    ("[redirect.except]\nusers = ['a, b']", "redirect.except.users[0]: is not one name"),
    ("[redirect.except]\npercent = true", "redirect.except.percent: must be a number"),
    ("[redirect.except]\nnetworks = ['x']", "redirect.except.networks[0]: is no network"),
    ("[journal]\nusers = 'hash'", "journal.hash_key_file: is required by users"),
    ("[journal]\nhash_key_file = 'empty'", "journal.hash_key_file: empty is empty"),
    ("[journal]\npath = 3", "journal.path: must be text in quotes"),
    ("[proxy]\nupstream = 'ex07.contoso.local'", "proxy.upstream: must be the URL of the old"),
    ("[proxy]\nupstream = 'https://u:p@ex07'", "proxy.upstream: must be the URL of the old"),
    ("[proxy]\nupstream = 'https://ex07/owa'", "proxy.upstream: must be the URL of the old"),
    ("[proxy]\nlisten = '::1:443'", "proxy.listen: write an IPv6 address in brackets"),
    ("[proxy]\nlisten = 'mail'", "proxy.listen: must be a port, or host:port"),
    ("[proxy]\nlisten = 70000", "proxy.listen: must be a port, or host:port"),
    ("[proxy]\nlisten = true", "proxy.listen: must be text in quotes"),
    ("[proxy]\ncert = 'no.pem'", "proxy.cert: there is no file no.pem"),
    (f"[proxy]\ncert = '{'a' * 300}'", "cannot be reached: File name too long"),
    ("[proxy]\nworkers = 0", "proxy.workers: must be"),
    ("[proxy]\nengine = 'fast'", "proxy.engine: must be 'full', 'safe' or 'off'"),
    ("[judge]\nlisten = '0.0.0.0:9411'", "judge.listen: must be unix:PATH or a loopback address"),
    ("[proxy]\nlisten = 94\n[metrics]\nlisten = '127.0.0.1:94'", "port 94 is that of proxy.listen"),
    ("[metrics]\nlisten = '0.0.0.0:443'", "metrics.listen: port 443 is that of proxy.listen"),
    ("[proxy]\nupstream = 'https://ex07..contoso.local'", "proxy.upstream: names no host: ex07.."),
    ("[journal]\npath = 'people.ldif'", "journal.path: is the file of directory.snapshot: name"),
    ("[journal]\npath = './eas-redirect.toml'", "journal.path: is the file of the settings"),
    ("[journal]\npath = 'j'\niis_path = 'j'", "journal.iis_path: is the file of journal.path"),
    ("[judge]\nlisten = 'localhost:9411'", "judge.listen: must be unix:PATH or a loopback"),
    ("[judge]\nservers = ['192.0.2.1:9411']", "judge.servers[0]: must be unix:PATH or a loopback"),
    ("[judge]\nservers = []", "judge.servers: "),
    ("[autodiscover]\nphones = 'listd'", "autodiscover.phones: must be 'off', 'listed' or 'all'"),
    ("[autodiscover]\nlisted = []", "autodiscover.listed: "),
    ("[redirect]\nend_waits = true", "redirect.end_waits: must be 'off', 'ping' or"),
    ("[metrics]\nlisten = '9410'", "metrics.listen: must be host:port"),
    ("[metrics]\nlisten = 'x:70000'", "metrics.listen: must be host:port"),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[case[1] for case in CASES])
def test_a_problem(folder: Path, text: str, expected: str) -> None:
    rest = SNAPSHOT if "directory" not in text else ""
    found = problems(folder, f"{text}\n{rest}")
    assert any(expected in problem for problem in found), found


NAMED_BY_MISTAKEN_LINES = [
    ('[redirect.only]\nusers = ["CONTOSO\\svc"]', ["a backslash in double quotes"]),
    ('[redirect.except]\nusers = ["CONTOSO\\svc"]', ["a backslash in double quotes"]),
    ('[redirect.only]\nusers = [\n  "anna",\n', ["users: a list is not closed"]),
    ('[redirect.only]\nusers = [\n  "anna"\n  "bert",\n]', ["users: a comma is missing"]),
    ("[redirect.only]\nusers_file =", ["users_file has no value"]),
    ('[redirect.only]\n"CORP\\svc"', ["a backslash in double quotes"]),
    ("[redirect.only]\n; anna", ["a comment begins with #"]),
    ('[ redirect . only ]\nusers = ["A\\svc"]', ["a backslash in double quotes"]),
    ("['redirect'.'only']\nusers = [\"A\\svc\"]", ["a backslash in double quotes"]),
    ('redirect.only = { users = ["A\\svc"] }', ["a backslash in double quotes"]),
    (
        '[redirect.only]\nusers = ["CONTOSO\\svc"]\npercent = 0',
        ["a backslash in double quotes", "redirect.only.percent: names nobody: name somebody"],
    ),
    (
        '[redirect.only]\nnetworks = []\nusers = ["A\\svc"]',
        ["redirect.only.networks: names nobody: name somebody", "a backslash in double quotes"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), NAMED_BY_MISTAKEN_LINES)
def test_nobody_is_told_to_remove_a_wave_whose_lines_cannot_be_read(
    folder: Path, text: str, expected: list[str]
) -> None:
    """Whoever obeyed would redirect everybody."""
    table = "" if text.startswith("redirect") else SNAPSHOT
    found = problems(folder, f"{table}\n{text}\n{'' if table else SNAPSHOT}")
    assert len(found) == len(expected), found
    for problem, words in zip(found, expected, strict=True):
        assert words in problem
        assert "remove the table" not in problem


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("version: 1\n\ndn: DC=contoso,DC=example\n", "an export of the directory (LDIF)"),
        ("-----BEGIN CERTIFICATE-----\n", "a certificate or a key (PEM)"),
        ('{"@timestamp":"2026-11-28T00:00:00Z"}\n', "a journal"),
    ],
)
def test_a_file_of_another_kind_is_named_and_its_lines_are_not(
    folder: Path, text: str, kind: str
) -> None:
    file = folder / "eas-redirect.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, environment={"EAS_REDIRECT__MODE": "enforce"})
    assert f"{file}: is {kind} and no eas-redirect.toml" in caught.value.problems
    assert len(caught.value.problems) <= 2
    assert brake(file, Wave(), {}, {}) is not None, "what cannot be read may hold somebody back"


def test_a_variable_that_cannot_be_read_is_somebody_too(folder: Path) -> None:
    file = folder / "eas-redirect.toml"
    file.write_text(f'mode = "enforce"\n{SNAPSHOT}\n[redirect.only]\n')
    broken = {"EAS_REDIRECT__REDIRECT__ONLY__USERS": "['anna'"}
    with pytest.raises(ConfigError) as caught:
        load_config(file, environment=broken)
    assert [p.partition(":")[0] for p in caught.value.problems] == list(broken)


def test_what_follows_from_a_line_that_cannot_be_read_is_not_told(folder: Path) -> None:
    simple = 'servers = ["ldaps://dc1"]\nbind_user = "a@b"\npassword_env = "A\\B"'
    for text, words in (
        (f"[directory]\n{simple}", "a backslash"),
        ("[directory]\nsnapshot = people.ldif", "write text in quotes"),
        (
            f"{SNAPSHOT}\n[[redirect.relationships]]\nname = 'x'\ndomain_names = ['a'\n"
            "target_owa_url = 'https://outlook.office.com/owa/b.example'",
            "a list is not closed",
        ),
    ):
        found = problems(folder, text)
        assert len(found) == 1, found
        assert words in found[0]


DIRECTORY_CASES = [
    ("", "directory.servers: names no server"),
    ("servers = []", "directory.servers: names no server"),
    ('snapshot = "people.ldif"\nservers = ["ldaps://dc1.contoso.example"]', "excludes servers"),
    ('snapshot = "none.ldif"', "directory.snapshot: there is no file none.ldif"),
    ('snapshot = "."', "is a folder: name a file in it"),
    ('snapshot = ""', "directory.snapshot: is empty"),
    ('servers = ["ldaps://dc1.contoso.example"]', "directory.bind_user: is required"),
    ('servers = ["ldaps://dc1.contoso.example"]', "directory.password_file: bind"),
    (
        'servers = ["ldaps://dc1.contoso.example:0"]',
        "directory.servers[0]: names the port 0: write",
    ),
    (
        'servers = ["ldaps://dc1.contoso.example:99999"]',
        "servers[0]: names a port above 65535: write",
    ),
    (
        'servers = ["ldaps://dc1.contoso.example/DC=x"]',
        "directory.servers[0]: is not host:port: write",
    ),
    ('servers = ["ldaps://"]', "directory.servers[0]: names no host: write ldaps:"),
    ('servers = ["ldaps://dc1\\u0007"]', "directory.servers[0]: holds a control character"),
    ('servers = ["ldaps://dc1"]\nstart_tls = true', "directory.start_tls: is for ldap://"),
    ('servers = ["ldaps://dc1"]\nca_file = "no.pem"', "directory.ca_file: there is no file"),
    ('servers = ["ldaps://dc1"]\nbind = "ntlm"', "directory.bind: must be 'simple'"),
    ('account_domains = { B = "sid" }', "directory.account_domains.B: must be "),
    ('account_domains = { B = ["dc1"] }', "directory.account_domains.B: must begin with"),
    ('servers = ["ldaps://dc1"]\npool_size = 0', "directory.pool_size: must be at least 1"),
    ('servers = ["ldaps://dc1"]\nlookup_timeout_s = 0', "directory.lookup_timeout_s: must be"),
    ('servers = ["ldaps://dc1"]\nsearch_base = "x"', "directory.search_base: is no distinguished"),
    (
        'servers = ["ldaps://dc1"]\npassword_env = "EAS_NONE"',
        "environment variable that is not set",
    ),
    (
        'servers = ["ldaps://dc1"]\npassword_file = "empty"',
        "directory.password_file: empty is empty",
    ),
]


@pytest.mark.parametrize(("text", "expected"), DIRECTORY_CASES)
def test_a_problem_of_the_directory(folder: Path, text: str, expected: str) -> None:
    found = problems(folder, f"[directory]\n{text}\n")
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    "text",
    [
        'servers = ["ldaps://eas:bind-Passw0rd-of-the-proxy@dc1.contoso.example"]',
        'password = "bind-Passw0rd-of-the-proxy"',
        'bind_password = "bind-Passw0rd-of-the-proxy"',
    ],
)
def test_a_password_is_refused_and_not_repeated(folder: Path, text: str) -> None:
    found = problems(folder, f"[directory]\n{text}\n")
    assert any("password_file" in p and "never stands in this file" in p for p in found)
    assert "Passw0rd" not in "".join(found)


def test_a_variable_that_is_really_a_password_is_not_repeated(folder: Path) -> None:
    found = problems(folder, SERVERS + 'password_env = "bind-Passw0rd-of-the-proxy"')
    assert "Passw0rd" not in "".join(found)


def test_two_passwords(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAS_PASSWORD", "x")
    text = SERVERS.replace("anonymous", "simple") + 'bind_user = "a@contoso.example"\n'
    assert load(folder, text + 'password_env = "EAS_PASSWORD"').directory.password_env
    both = problems(folder, text + 'password_env = "EAS_PASSWORD"\npassword_file = "password"')
    assert "directory.password_env: excludes password_file" in both[0]


def test_relationships_that_claim_one_domain(folder: Path) -> None:
    one = '[[redirect.relationships]]\nname = "{}"\ndomain_names = ["cloud.example"]\n'
    one += 'target_owa_url = "http://outlook.com/owa"\n'
    found = problems(folder, SNAPSHOT + one.format("A") + one.format("B"))
    assert "redirect.relationships[1].domain_names: cloud.example is named by" in found[0]
    load(folder, SNAPSHOT + one.format("A") + one.format("B") + "enabled = false\n")


@pytest.mark.parametrize("url", ["https://192.0.2.1/owa", "outlook.com/owa", "https://mail/owa"])
def test_a_relationship_is_judged_as_the_directorys_are(folder: Path, url: str) -> None:
    entry = '[[redirect.relationships]]\nname = "A"\ndomain_names = ["a.example"]\n'
    entry += f'target_owa_url = "{url}"\n'
    assert "target_owa_url: cannot be used: " in problems(folder, SNAPSHOT + entry)[0]


def test_the_host_map_helps_a_configured_relationship(folder: Path) -> None:
    entry = '[[redirect.relationships]]\nname = "A"\ndomain_names = ["a.example"]\n'
    entry += 'target_owa_url = "https://Mail/owa"\n'
    hosts = '[redirect.hosts]\nmail = "mail.contoso.example"\n'
    assert load(folder, SNAPSHOT + hosts + entry).redirect.relationships[0].name == "A"


def test_a_syntax_error_has_its_line(folder: Path) -> None:
    assert "eas-redirect.toml:1: mode has no value: write mode = …" in problems(folder, "mode = \n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "{a=" * 5000, "nested too deeply"),
        ("a = " + "9" * 5000, "too many digits"),
        ("a." * 3000 + "b = 1", "a: unknown key"),
    ],
)
def test_what_a_toml_parser_has_no_room_for_is_a_problem_too(
    folder: Path, text: str, said: str
) -> None:
    assert any(said in problem for problem in problems(folder, text))
    assert "eas-redirect.toml:2: write text" in problems(folder, "\nmode = nonsense\n")[1]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, word in [(tmp_path / "no.toml", "no such file"), (tmp_path, "is a folder")]:
        with pytest.raises(ConfigError, match=word):
            load_config(path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# M\xfcller\n")
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        load_config(latin)


def test_a_byte_order_mark_is_no_harm(folder: Path) -> None:
    assert load(folder, "\ufeffmode = 'observe'\n" + SNAPSHOT).mode == "observe"


def test_options_override_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    config = load(folder, SNAPSHOT, {"mode": "observe", "journal.path": Path("here.jsonl")})
    assert config.mode == "observe"
    assert config.journal.path == str(folder.parent / "here.jsonl")
    assert load(folder, SNAPSHOT, {"journal.path": "-"}).journal.path == "-"
    found = problems(folder, SNAPSHOT, {"mode": "enforced"})
    assert found == ("an option: mode: must be 'observe' or 'enforce'",)


def test_a_file_of_users_that_went_away(folder: Path) -> None:
    config = load(folder, SNAPSHOT + '[redirect.only]\nusers_file = "pilot.txt"\n')
    (folder / "pilot.txt").unlink()
    with pytest.raises(ConfigError, match=r"pilot\.txt"):
        policy(config)


def toml(value: object) -> str:
    """A value as TOML writes it (a JSON string is a TOML basic string)."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


TEXTS = st.sampled_from(
    ["", " ", "anna", "cloud.example", "ldaps://dc1", "https://a.example/owa", "10.0.0.0/8", "\x00"]
) | st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF), max_size=8)
SCALARS = st.one_of(st.booleans(), st.integers(-9, 10**6), st.floats(allow_nan=False), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)
DOCUMENTS = st.dictionaries(st.sampled_from(sorted(known_keys(Config))), VALUES, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(DOCUMENTS)
def test_any_document_is_a_configuration_or_a_list_of_problems(
    folder: Path, document: dict[str, object]
) -> None:
    nested: dict[str, object] = {}
    for key, value in document.items():
        *tables, name = key.split(".")
        at = nested
        for table in tables:
            inner = at.setdefault(table, {})
            at = inner if isinstance(inner, dict) else {}
        at[name] = value
    text = "\n".join(f"{key} = {toml(value)}" for key, value in nested.items())
    try:
        config = load(folder, text)
    except ConfigError as error:
        found = error.problems
    else:
        policy(config)
        return
    assert found
    assert all(": " in problem for problem in found)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_an_ipv4_network_is_one_however_it_is_written(
    folder: Path, written: str, meant: str
) -> None:
    config = load(
        folder,
        f"""
        mode = "enforce"
        exchange.trusted_proxies = ["{written}"]
        directory.snapshot = "people.ldif"
        redirect.except.networks = ["{written}"]
        """,
    )
    assert config.redirect.except_ is not None
    networks = (*config.exchange.trusted_proxies, *(config.redirect.except_.networks or ()))
    assert [str(network) for network in networks] == [meant] * 2
