"""The record in a flow's metadata: read where it is one, and nothing believed of what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.test import tflow

from eas_redirect.captures.recorded import RecordedExchange, recorded_exchange
from eas_redirect.proxy.flows import METADATA

RECORD: dict[str, object] = {
    "event": {"reason": "mailbox_moved"},
    "eas": {
        "decision": "redirect",
        "evidence": "certain",
        "upstream": {"status_code": 200, "status": 123},
        "redirect": {"location": "https://mail.example/Microsoft-Server-ActiveSync"},
        "directory": {"target_domain": "cloud.example", "relationship": "Cloud"},
    },
}


def read(record: object) -> RecordedExchange | None:
    flow = tflow.tflow()
    flow.metadata[METADATA] = record
    return recorded_exchange(flow)


def test_what_was_decided_and_what_exchange_had_said() -> None:
    assert read(RECORD) == RecordedExchange(
        decision="redirect",
        reason="mailbox_moved",
        status_code=200,
        eas_status=123,
        location="https://mail.example/Microsoft-Server-ActiveSync",
        target_domain="cloud.example",
        relationship="Cloud",
        evidence="certain",
    )


def test_a_flow_that_the_addon_has_not_seen() -> None:
    assert recorded_exchange(tflow.tflow()) is None


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda some: (
        st.lists(some, max_size=3)
        | st.dictionaries(st.sampled_from(["eas", "event", "upstream", "status", "decision"]), some)
    ),
)


@given(json)
def test_whatever_stands_there_is_a_text_a_number_or_absent(record: object) -> None:
    found = read(record)
    if not isinstance(record, dict):
        assert found is None
        return
    assert found is not None
    eas = record.get("eas")
    decision = eas.get("decision") if isinstance(eas, dict) else None
    upstream = eas.get("upstream") if isinstance(eas, dict) else None
    status = upstream.get("status") if isinstance(upstream, dict) else None
    assert found.decision == (decision if isinstance(decision, str) else None)
    assert found.eas_status == (status if isinstance(status, int) else None)


@pytest.mark.parametrize(
    ("evidence", "reason", "shows"),
    [
        ("weak", "mailbox_moved", True),
        ("weak", "directory_unavailable", True),
        ("weak", "logon_not_proven", False),  # that is what it says when nobody is known to ask
        ("weak", "other_answer", False),
        ("weak", None, False),
        ("certain", "mailbox_moved", False),
        (None, "mailbox_moved", False),
    ],
)
def test_what_shows_that_the_server_asks_for_a_logon(
    evidence: str | None, reason: str | None, shows: bool
) -> None:
    assert RecordedExchange(evidence=evidence, reason=reason).shows_challenge is shows
