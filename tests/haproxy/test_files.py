"""The files that HAProxy runs follow the configuration; what it lacks is said before they do."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.configuration.config import Config, load_config
from eas_redirect.haproxy.files import (
    CONFIGURATION,
    HEADER_CASE,
    LUA,
    Place,
    Site,
    SiteError,
    _lua,
    lua_text,
    written_files,
)
from eas_redirect.judging.judge import GRACE_S

PROXY = '[proxy]\nupstream = "https://ex07.contoso.local"\n'
CLAIMED = ("X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Original-Host")


def config(tmp_path: Path, text: str = PROXY) -> Config:
    (tmp_path / "forest.ldif").touch()
    path = tmp_path / "eas-redirect.toml"
    head = 'mode = "enforce"\n'
    path.write_text(f'{head}{text}\n[directory]\nsnapshot = "forest.ldif"\n', "utf-8")
    return load_config(path)


def site(**fields: object) -> Site:
    return Site(folder=Path("/etc/eas-redirect"), **fields)  # type: ignore[arg-type]


def lines(tmp_path: Path, text: str = PROXY, **fields: object) -> list[str]:
    """Of haproxy.cfg, without its comments."""
    written = written_files(config(tmp_path, text), site(**fields))[CONFIGURATION]
    return [line.strip() for line in written.splitlines() if not line.strip().startswith("#")]


def test_three_files_with_nothing_left_to_fill_in(tmp_path: Path) -> None:
    files = written_files(config(tmp_path), site())
    assert set(files) == {CONFIGURATION, LUA, HEADER_CASE}
    assert not re.search(r"--\[\[[A-Z]", files[LUA])
    assert "lua-load /etc/eas-redirect/eas.lua" in files[CONFIGURATION].replace('"', "")


@pytest.mark.parametrize(
    ("text", "chroot", "advice"),
    [
        ("", None, "Set proxy.upstream"),
        ('[proxy]\nupstream = "https://192.0.2.1"\n', None, "set proxy.upstream_name"),
        ('[proxy]\nupstream = "https://[2001:db8::1]"\n', None, "set proxy.upstream_name"),
        (PROXY, "/var/lib/haproxy", "unix:/var/lib/haproxy/eas-redirect/judge.sock"),
    ],
    ids=["no Exchange", "an address", "an IPv6 address", "a socket beyond the chroot"],
)
def test_what_haproxy_lacks_is_said(
    text: str, chroot: str | None, advice: str, tmp_path: Path
) -> None:
    where = None if chroot is None else Path(chroot)
    with pytest.raises(SiteError, match=re.escape(advice)):
        written_files(config(tmp_path, text), site(chroot=where))


def test_an_address_is_good_with_the_name_of_the_certificate_or_without_tls(tmp_path: Path) -> None:
    named = '[proxy]\nupstream = "https://192.0.2.1"\nupstream_name = "ex07.contoso.local"\n'
    assert written_files(config(tmp_path, named), site())
    assert written_files(config(tmp_path, '[proxy]\nupstream = "http://192.0.2.1"\n'), site())


def test_in_a_chroot_haproxy_sees_the_socket_by_the_rest_of_its_path(tmp_path: Path) -> None:
    text = f'{PROXY}[judge]\nservers = ["unix:/var/lib/haproxy/eas/judge.sock"]\n'
    files = written_files(config(tmp_path, text), site(chroot=Path("/var/lib/haproxy")))
    assert 'path = "/eas/judge.sock"' in files[LUA]
    assert "chroot /var/lib/haproxy" in files[CONFIGURATION].replace('"', "")


def test_what_phones_claim_of_addresses_and_names_is_dropped_unless_a_trusted_proxy_says_it(
    tmp_path: Path,
) -> None:
    alone = lines(tmp_path)
    fronted = lines(tmp_path, f'{PROXY}[exchange]\ntrusted_proxies = ["192.0.2.0/24"]\n')
    assert "acl trusted src 192.0.2.0/24" in fronted
    for header in CLAIMED:
        assert f"http-request del-header {header}" in alone
        assert f"http-request del-header {header} unless trusted" in fronted
        assert f"http-request del-header {header}" not in fronted


@pytest.mark.parametrize(
    ("listen", "bind"),
    [
        ("443", "bind :::443 v4v6"),
        ("192.0.2.7:8443", "bind 192.0.2.7:8443"),
        ("[2001:db8::7]:443", "bind [2001:db8::7]:443"),
    ],
)
def test_where_phones_come_in(listen: str, bind: str, tmp_path: Path) -> None:
    (said,) = [x for x in lines(tmp_path, f'{PROXY}listen = "{listen}"\n') if x[:4] == "bind"]
    assert said == bind


def test_room_for_each_phone_and_a_tenth(tmp_path: Path) -> None:
    assert "maxconn 22000" in lines(tmp_path, phones=20_000)


def test_the_judge_gives_up_before_lua_does_and_lua_before_haproxy(tmp_path: Path) -> None:
    """The judge can say what was slow; a Lua that HAProxy ends says nothing."""
    given = config(tmp_path)
    files = written_files(given, site())
    (lua_s,) = map(float, re.findall(r"LIMIT_S = ([\d.]+)", files[LUA]))
    (haproxy_ms,) = map(int, re.findall(r"session-timeout (\d+)ms", files[CONFIGURATION]))
    assert given.directory.lookup_timeout_s + GRACE_S < lua_s < haproxy_ms / 1000


def test_questions_to_autodiscover_are_asked_where_phones_are_told(tmp_path: Path) -> None:
    told = written_files(config(tmp_path, f'{PROXY}[autodiscover]\nphones = "all"\n'), site())
    silent = written_files(config(tmp_path), site())
    assert '"question_type"' in told[LUA]
    assert '"question_type"' not in silent[LUA]
    assert "question_type" not in silent[CONFIGURATION]


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_one_literal_of_lua(text: str) -> None:
    """Nothing in a path or a name ends the string that it stands in (Lua 5.3, 3.1)."""
    literal = _lua(text)
    inner = literal[1:-1]
    assert literal[0] == literal[-1] == '"'
    assert re.fullmatch(r"(?:[^\"\\\x00-\x1f\x7f-\uffff]|\\\d{3})*", inner)
    undone = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1])), inner)
    assert undone.encode("latin-1") == text.encode()


def test_a_judge_is_named_as_the_configuration_names_it() -> None:
    places = [Place.parse("unix:/run/j.sock"), Place.parse("127.0.0.1:9411")]
    text = lua_text(places, 5.0)
    assert '{ name = "unix:/run/j.sock", path = "/run/j.sock" }' in text
    assert '{ name = "127.0.0.1:9411", host = "127.0.0.1", port = 9411 }' in text


def test_tls_1_0_towards_exchange_by_the_file_or_by_the_option(tmp_path: Path) -> None:
    old = "ssl-min-ver TLSv1.0 ciphers ALL:@SECLEVEL=0"
    assert not any(old in line for line in lines(tmp_path))
    for text, fields in ((f'{PROXY}upstream_tls_min = "1.0"\n', {}), (PROXY, {"old_tls": True})):
        servers = [line for line in lines(tmp_path, text, **fields) if line.startswith("server ex")]
        assert len(servers) == 2
        assert all(old in line for line in servers)
