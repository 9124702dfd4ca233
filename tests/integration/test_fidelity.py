"""Everything else crosses untouched: each kind of exchange through a real mitmdump, both legs."""

import random
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from eas_redirect.lab.authority import LabCertificates
from tests.integration.crossing import Arrivals, cross
from tests.integration.kinds import KINDS
from tests.integration.messages import CONFIG
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer
from tests.integration.running import run

pytestmark = pytest.mark.integration

EACH = 25  # exchanges of a kind; tests/benchmarks runs a thousand


@pytest.fixture(scope="module")
def arrivals() -> Arrivals:
    rng = random.Random(4)  # noqa: S311 - the same bytes in every run
    return Arrivals([make(rng) for make in KINDS.values() for _ in range(EACH)])


@pytest.fixture(scope="module")
def server(arrivals: Arrivals) -> Iterator[RawServer]:
    with RawServer(arrivals.script) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: RawServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmdump]:
    directory: Path = tmp_path_factory.mktemp("fidelity")
    mode = f"reverse:http://127.0.0.1:{server.port}"
    with mitmdump(directory, mode, config=CONFIG) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_both_legs_carry_the_same_bytes(kind: str, arrivals: Arrivals, proxy: Mitmdump) -> None:
    before = proxy.settled()
    first = list(KINDS).index(kind) * EACH
    numbers = range(first, first + EACH)
    differences = cross(proxy.port, arrivals, numbers)
    assert not differences, "\n".join(map(str, differences))
    eas = sum(arrivals.exchanges[n].eas for n in numbers)
    assert len(proxy.exchanges(before + eas)) == before + eas


def test_mixed_on_one_connection(arrivals: Arrivals, proxy: Mitmdump) -> None:
    numbers = list(range(len(arrivals.exchanges)))
    random.Random(5).shuffle(numbers)  # noqa: S311
    differences = cross(proxy.port, arrivals, numbers[:300])
    assert not differences, "\n".join(map(str, differences))


def test_through_eas_redirect_run(arrivals: Arrivals, server: RawServer, tmp_path: Path) -> None:
    """Its engine has fewer addons of mitmproxy's; what crosses is the same."""
    with run(tmp_path, f"http://127.0.0.1:{server.port}") as running:
        differences = cross(running.port, arrivals, range(0, len(arrivals.exchanges), 5))
    assert not differences, "\n".join(map(str, differences))
    assert "Traceback" not in running.log


def test_over_tls_on_both_legs(arrivals: Arrivals, tmp_path: Path) -> None:
    """One of each kind, with the certificates of a lab."""
    certificates = LabCertificates(tmp_path / "certs")
    name = "mail.contoso.example"
    front, back = (certificates.issue(stem, [name]) for stem in ("front", "back"))
    client = ssl.create_default_context(cafile=str(certificates.ca_file))
    options = {"ssl_verify_upstream_trusted_ca": str(certificates.ca_file)}
    words = ("--certs", f"{name}={front.file}")
    with RawServer(arrivals.script, tls=back.server_context()) as server:
        mode = f"reverse:https://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG, options=options, arguments=words) as proxy:
            numbers = range(0, len(arrivals.exchanges), EACH)
            differences = cross(proxy.port, arrivals, numbers, tls=client, name=name)
    assert not differences, "\n".join(map(str, differences))


def test_the_comparison_finds_a_difference(arrivals: Arrivals, server: RawServer) -> None:
    spoiled = Arrivals(arrivals.exchanges)
    assert cross(server.port, arrivals, [0]) == []
    spoiled.requests[0] = arrivals.requests[0].replace(b"Host", b"host")
    assert [d.leg for d in cross(server.port, spoiled, [0])] == ["request"]


def test_nothing_went_wrong_inside(proxy: Mitmdump) -> None:
    assert "Traceback" not in proxy.log
    assert "has crashed" not in proxy.log
