"""The targets of relationships, tried over real TLS; what a reading of relationships leads to."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from eas_redirect.checking.relationship_targets import check_relationships, probe, targets
from eas_redirect.directory.sight import DirectorySource
from eas_redirect.directory.values import RelationshipsAnswer, Unavailable
from eas_redirect.lab.authority import LabCertificates
from eas_redirect.policy.decision import Policy
from tests.integration.processes import free_port
from tests.integration.rawserver import ClosedError, RawServer, Wire
from tests.policy.builders import CLOUD

TIMEOUT_S = 20.0
OWN = replace(CLOUD, name="Own", target_owa_url="https://mail.fabrikam.example/owa")
DOWN = Unavailable(error_type="timeout", message="no server answers")


def answer(*relationships: object, down: bool = False) -> RelationshipsAnswer:
    known = DOWN if down else relationships
    return RelationshipsAnswer(relationships=known, source="ldap")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LabCertificates:
    return LabCertificates(tmp_path_factory.mktemp("tls"))


@contextmanager
def answering_with(authority: LabCertificates, head: bytes) -> Iterator[RawServer]:
    """To OPTIONS; a connection that only looks at the certificate says nothing."""

    def script(wire: Wire) -> None:
        with suppress(ClosedError):
            wire.read_head()
            wire.send(head + b"Content-Length: 0\r\n\r\n")

    context = authority.issue("target", ("localhost",)).server_context()
    with RawServer(script, context) as server:
        yield server


@pytest.fixture
def target(authority: LabCertificates) -> Iterator[RawServer]:
    head = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n"
    with answering_with(authority, head) as server:
        yield server


def test_a_target_that_phones_believe(
    authority: LabCertificates, target: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    checks = list(probe("localhost", TIMEOUT_S, target.port))
    assert [check.state for check in checks] == ["good", "good", "good"]
    assert checks[2].subject == "target localhost OPTIONS"
    assert checks[2].finding.startswith("asks to log on by Bearer")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"HTTP/1.1 404 Not Found\r\n", "answered 404"),
        (b"HTTP/1.1 401 Unauthorized\r\n", "401 without WWW-Authenticate"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer to OPTIONS"),
    ],
)
def test_a_target_without_activesync_is_a_warning(
    authority: LabCertificates, monkeypatch: pytest.MonkeyPatch, head: bytes, says: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    with answering_with(authority, head) as server:
        *_, check = probe("localhost", TIMEOUT_S, server.port)
    assert (check.state, check.advice) == (
        "warning",
        "Is ActiveSync served there? Else map the host.",
    )
    assert says in check.finding


def test_a_target_that_phones_refuse(target: RawServer) -> None:
    [check] = probe("localhost", TIMEOUT_S, target.port)
    assert check.state == "failed"
    assert "phones will refuse its certificate" in check.finding


def test_a_vanity_name_whose_certificate_bears_another(
    authority: LabCertificates, target: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    [check] = probe("127.0.0.1", TIMEOUT_S, target.port)
    assert check.state == "failed"
    assert check.advice == "Map the name to one that the certificate bears."


def test_a_target_that_is_not_there() -> None:
    [check] = probe("localhost", TIMEOUT_S, free_port())
    assert check.state == "unreachable"


def test_a_target_that_does_not_speak_tls() -> None:
    with RawServer(lambda wire: wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        [check] = probe("localhost", TIMEOUT_S, server.port)
    assert check.state == "failed"


def test_each_target_is_tried_once() -> None:
    policy = Policy(relationships=(OWN, replace(OWN, name="Again")))
    known = answer(CLOUD, replace(CLOUD, enabled=False), replace(CLOUD, target_owa_url=None))
    assert targets(known, policy) == ("mail.fabrikam.example", "outlook.office365.com")
    assert targets(answer(down=True), policy) == ("mail.fabrikam.example",)


def test_a_snapshot_without_relationships_needs_the_second_export_and_a_server_a_right() -> None:
    by_source: dict[DirectorySource, str] = {
        "snapshot": "second ldifde line",
        "ldap": "Let the account",
    }
    for source, advice in by_source.items():
        [check] = check_relationships(replace(answer(), source=source), Policy())
        assert advice in str(check.advice)
        assert not any(other in str(check.advice) for other in set(by_source.values()) - {advice})


@pytest.mark.parametrize(
    ("known", "policy", "states"),
    [
        (answer(CLOUD), Policy(), ["good", "good"]),
        (answer(), Policy(), ["failed"]),
        (answer(), Policy(relationships=(CLOUD,)), ["warning", "good"]),
        (answer(down=True), Policy(), ["unreachable"]),
        (answer(down=True), Policy(relationships=(CLOUD,)), ["unreachable", "good"]),
        (answer(CLOUD, replace(CLOUD, name="B")), Policy(), ["good", "failed", "good", "good"]),
    ],
)
def test_what_a_reading_leads_to(
    known: RelationshipsAnswer, policy: Policy, states: list[str]
) -> None:
    assert [check.state for check in check_relationships(known, policy)] == states
