"""The lines that `--keep` prints can be pasted, whatever the address."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from eas_redirect.lab.keep import instructions
from eas_redirect.lab.placement import EXCHANGE, Placement
from eas_redirect.lab.runner import Lab


def lab(site: Placement) -> Lab:
    """As much of a running lab as the instructions look at."""
    parts = SimpleNamespace(
        site=site,
        certificates=SimpleNamespace(ca_file=Path("certs/lab-ca.pem")),
        proxy=SimpleNamespace(address=("127.0.0.1", 8443)),
        journal=Path(".lab/eas-journal.jsonl"),
    )
    return cast("Lab", parts)


def pasted(text: str) -> list[str]:
    """The words of the command line, as a shell would read them."""
    return shlex.split(text.split("451:\n\n")[1])


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "https://localhost:8443/"),
        ("192.168.1.5", "https://192.168.1.5:8443/"),
        ("2001:db8::5", "https://[2001:db8::5]:8443/"),
    ],
)
def test_on_loopback_or_a_network(host: str, url: str) -> None:
    free = ("127.0.0.1", 0)
    site = Placement(exchange=free, target=free, proxy=free, page=free)
    words = pasted(instructions(lab(site), host, "http://page/"))
    assert words[0] == "curl"
    assert words[-1].startswith(f"{url}Microsoft-Server-ActiveSync?Cmd=FolderSync&")
    assert words[words.index("--user") + 1] == "anna@contoso.example:Example-Passw0rd"


def test_on_the_way_it_runs_where_the_phone_is() -> None:
    site = Placement(
        exchange=(EXCHANGE, 443),
        target=("198.51.100.20", 443),
        proxy=("203.0.113.1", 8080),
        page=("203.0.113.1", 80),
        transparent=True,
        phone_shell=("nsenter", "--net=/proc/1/fd/9"),
    )
    words = pasted(instructions(lab(site), "localhost", "http://page/"))
    assert words[:3] == ["nsenter", "--net=/proc/1/fd/9", "curl"]
    assert words[words.index("--resolve") + 1] == f"mail.contoso.example:443:{EXCHANGE}"
    assert words[-1].startswith("https://mail.contoso.example/")
