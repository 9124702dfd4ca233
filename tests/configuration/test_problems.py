"""Places in a TOML file, and the keys of a model."""

import pytest

from eas_redirect.configuration.config import Config
from eas_redirect.configuration.problems import dotted, known_keys
from eas_redirect.configuration.sources import key_lines

DOCUMENT = '''\
# a comment
mode = "observe"

[directory]
servers = [  # two
  "ldaps://dc1.contoso.example",
  # pool_size = 3
  "ldaps://dc2.contoso.example",
]
bind_user = """
pool_size = 3
"""
pool_size = 4
[[redirect.relationships]]
name = "A"
[[redirect.relationships]]
name = "B"
[redirect]
hosts = { "mail.example" = "x" }
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("mode",), 2),
        (("directory",), 4),
        (("directory", "servers"), 5),
        (("directory", "servers", 1), 5),
        (("directory", "bind_user"), 10),
        (("directory", "pool_size"), 13),
        (("redirect", "relationships", 0, "name"), 15),
        (("redirect", "relationships", 1), 16),
        (("redirect", "relationships", 1, "name"), 17),
        (("redirect", "hosts", "mail.example"), 19),
    ],
)
def test_the_line_of_a_key(place: tuple[int | str, ...], line: int) -> None:
    assert key_lines(DOCUMENT)[place] == line


def test_a_place_in_words() -> None:
    assert dotted(("directory", "servers", 1)) == "directory.servers[1]"
    assert dotted(("redirect", "hosts", "a b", "[key]")) == "redirect.hosts.a b"


def test_the_keys_of_the_configuration() -> None:
    keys = set(known_keys(Config))
    assert {"mode", "redirect.except.users_file", "redirect.relationships.name"} <= keys
    assert "redirect.except_" not in keys
