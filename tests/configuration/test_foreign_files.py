"""What a file is by its first bytes; and what is settings or a list is nothing else."""

from importlib import resources

import pytest

from eas_redirect.configuration.foreign_files import SETTINGS, kind_of
from tests.support import DATA

LDIF = "an export of the directory (LDIF)"
TEMPLATE = resources.files("eas_redirect").joinpath("data/eas-redirect.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", None),
        (b"anna@contoso.example\n", None),
        (b"UserPrincipalName;Name\n", None),
        (b"#TYPE Selected.X\n", None),
        (b"#Version: 2 of the first wave\nanna\n", None),
        (b"[anna]", None),
        ((DATA / "migration.ldif").read_bytes()[:4096], LDIF),
        ("version: 1\r\n\r\ndn: DC=x\r\n".encode("utf-16"), LDIF),
        (b"\xef\xbb\xbf# base <DC=x>\n#\n\ndn:: Q049eA==\n", LDIF),
        (TEMPLATE.encode(), SETTINGS),
        (b'\xef\xbb\xbfmode = "observe"\r\n', SETTINGS),
        (b"[redirect.only]\nusers = []\n", SETTINGS),
        (b'{"@timestamp":"2026-11-28T00:00:00Z"}', "a journal"),
        (b'{ "log" : {', "a capture (HAR)"),
        (b'[\n {"a": 1}]', "JSON"),
        (b"#Software: Microsoft Internet Information Services 7.5\n", "a log of IIS"),
        (b"#Fields: date time c-ip\n", "a log of IIS"),
        (b"\x30\x82\x05\x00", "a certificate or a key (DER or PKCS#12)"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"4:9:websocket;0:~", "a flow file of mitmproxy"),
        (b"\xd0\xcf\x11\xe0", "a workbook or an archive"),
    ],
)
def test_kind_of(head: bytes, kind: str | None) -> None:
    assert kind_of(head) == kind


@pytest.mark.parametrize("kept", ["# " * 2000, "# wave 1\n" + "\n" * 4000, "#\n" + " " * 4000])
def test_lines_of_hashes_and_empty_ones_are_passed_once(kept: str) -> None:
    """A list of users may begin so; tried in every way, one would take years."""
    assert kind_of(f"{kept}\nanna@contoso.example\n".encode()) is None
    assert kind_of(f'{kept}\nmode = "observe"\n'.encode()) == SETTINGS
