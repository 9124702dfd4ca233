"""What `check` says of the certificate that phones see."""

from pathlib import Path

import pytest

from eas_redirect.checking.certificate_dates import check_front
from eas_redirect.configuration.config import load_config
from eas_redirect.lab.authority import LabCertificates
from tests.certificates.servers import Authority, Made
from tests.integration.running import write_config

NAME = "mail.contoso.example"


def checked(tmp_path: Path, further: str) -> list[tuple[str, str]]:
    config = load_config(write_config(tmp_path, further))
    return [(check.state, check.finding) for check in check_front(config)]


def test_a_good_one(tmp_path: Path) -> None:
    file = LabCertificates(tmp_path).issue("mail", [NAME]).file
    [(state, finding)] = checked(
        tmp_path, f'[proxy]\ncert = "{file}"\n[exchange]\nhost_names = ["{NAME}"]\n'
    )
    assert state == "good"
    assert finding.startswith(f"for {NAME}, good until 20")


def test_every_remark_is_a_line(tmp_path: Path) -> None:
    file = Made().write(tmp_path / "front", Authority(tmp_path / "ca"))
    found = checked(tmp_path, f'[proxy]\ncert = "{file}"\n[exchange]\nhost_names = ["{NAME}"]\n')
    assert [state for state, _ in found] == ["warning", "failed"]
    assert "no chain" in found[0][1]
    assert f"not for {NAME}" in found[1][1]


def test_one_that_cannot_be_used(tmp_path: Path) -> None:
    one, other = (Made().write(tmp_path / n).read_text() for n in "ab")
    mixed = tmp_path / "mixed.pem"
    mark = "-----BEGIN CERTIFICATE"
    mixed.write_text(one.partition(mark)[0] + mark + other.partition(mark)[2])
    [(state, finding)] = checked(tmp_path, f'[proxy]\ncert = "{mixed}"\n')
    assert state == "failed"
    assert "does not fit" in finding


@pytest.mark.parametrize(
    ("further", "state"),
    [
        ('[exchange]\ntrusted_proxies = ["10.0.0.1"]\n', "good"),
        ('[proxy]\nupstream = "https://ex07.contoso.local"\n', "warning"),
    ],
)
def test_without_one(further: str, state: str, tmp_path: Path) -> None:
    assert [found for found, _ in checked(tmp_path, further)] == [state]


def test_haproxy_shows_no_certificate_of_its_own(tmp_path: Path) -> None:
    further = '[proxy]\nupstream = "https://ex07.contoso.local"\n'
    config = load_config(write_config(tmp_path, further))
    [check] = check_front(config, "haproxy")
    assert (check.state, check.finding) == ("warning", "HAProxy takes phones without TLS")


def test_nothing_is_said_where_nothing_of_the_proxy_is(tmp_path: Path) -> None:
    assert checked(tmp_path, "") == []


@pytest.mark.parametrize(
    ("names", "called", "missing"),
    [
        ([NAME], [NAME], "autodiscover.contoso.example"),
        ([NAME, "autodiscover.contoso.example"], [NAME], None),
        ([NAME, "*.contoso.example"], [NAME], None),
        ([NAME, "autodiscover.contoso.example"], ["autodiscover.contoso.example"], None),
        (
            [NAME, "eas.fabrikam.example", "autodiscover.contoso.example"],
            [NAME, "eas.fabrikam.example"],
            "autodiscover.fabrikam.example",
        ),
        ([NAME], [], "autodiscover.DOMAIN"),
        (["autodiscover.contoso.example"], [], None),
    ],
)
def test_where_phones_are_told_it_names_autodiscover(
    tmp_path: Path, names: list[str], called: list[str], missing: str | None
) -> None:
    file = LabCertificates(tmp_path).issue("mail", names).file
    tables = f'[proxy]\ncert = "{file}"\n[exchange]\nhost_names = {called}\n'
    found = checked(tmp_path, f'{tables}[autodiscover]\nphones = "listed"\n')
    told = [finding for state, finding in found if state == "warning"]
    assert told == ([] if missing is None else [told[0]])
    assert missing is None or told[0].endswith(f"it is not for {missing}")
    assert [state for state, _ in checked(tmp_path, tables)] == ["good"]
