"""Several workers appear as one: sums where things add up, the worst where they do not."""

from dataclasses import replace

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from eas_redirect.directory.values import CacheStatistics
from eas_redirect.telemetry.merge import merge_statuses, sum_expositions
from eas_redirect.telemetry.metrics import Exposition, Gauges, Metrics
from eas_redirect.telemetry.site import STATUS
from eas_redirect.telemetry.status import (
    CertificateLine,
    ConfigurationLine,
    DirectoryLine,
    ErrorLine,
    ReasonCount,
    UpstreamLine,
)
from tests.telemetry.statuses import LIVELY, NOW_S, device
from tests.telemetry.test_metrics import EXCHANGE, REDIRECT


def exposition(records: int, *, ready: bool, waits: int, loaded_s: float) -> str:
    metrics = Metrics(
        Gauges(
            mode=lambda: "enforce",
            ready=lambda: ready,
            certificates=lambda: {"phones": loaded_s, "exchange": 500.0},
            open_waits=lambda: waits,
            configuration_loaded_s=lambda: loaded_s,
        )
    )
    for _ in range(records):
        metrics.observe(EXCHANGE)
    metrics.observe(REDIRECT)
    return Exposition(metrics).render().decode()


def values(text: bytes) -> dict[str, float]:
    """The samples without labels, and one with."""
    return {
        sample.name + (f"{{{sample.labels['command']}}}" if "command" in sample.labels else ""):
        sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if not sample.labels or "command" in sample.labels
    }  # fmt: skip


def test_sums_and_worsts() -> None:
    one = exposition(3, ready=True, waits=2, loaded_s=100.0)
    other = exposition(4, ready=False, waits=5, loaded_s=200.0)
    further = [GaugeMetricFamily("eas_workers", "Workers.", value=2)]
    total = values(sum_expositions([one, other], further=further))
    assert total["eas_requests_total{Sync}"] == 7
    assert total["eas_requests_total{FolderSync}"] == 2
    assert total["eas_open_waits"] == 7
    assert total["eas_ready"] == 0
    assert total["eas_enforcing"] == 1
    assert total["eas_config_loaded_timestamp_seconds"] == 200.0
    assert total["eas_directory_lookup_duration_seconds_count"] == 2
    assert total["eas_workers"] == 2
    assert (
        total["process_resident_memory_bytes"]
        > values(one.encode())["process_resident_memory_bytes"]
    )


def test_of_certificates_the_one_that_ends_first_counts() -> None:
    texts = [exposition(0, ready=True, waits=0, loaded_s=s) for s in (100.0, 200.0)]
    [family] = [
        f
        for f in text_string_to_metric_families(sum_expositions(texts).decode())
        if f.name == "eas_certificate_expiry_timestamp_seconds"
    ]
    found = {sample.labels["certificate"]: sample.value for sample in family.samples}
    assert found == {"phones": 100.0, "exchange": 500.0}


def test_of_the_gone_only_what_lasts_is_counted() -> None:
    living = exposition(1, ready=True, waits=2, loaded_s=100.0)
    gone = exposition(10, ready=False, waits=50, loaded_s=900.0)
    total = values(sum_expositions([living], [gone]))
    assert total["eas_requests_total{Sync}"] == 11
    assert total["eas_open_waits"] == 2
    assert total["eas_ready"] == 1
    assert values(sum_expositions([], [gone])).keys().isdisjoint({"eas_ready", "eas_open_waits"})


def test_burying_the_dead_one_after_the_other_loses_nothing() -> None:
    buried: list[str] = []
    for count in (1, 2, 3):
        text = exposition(count, ready=True, waits=0, loaded_s=1.0)
        buried = [sum_expositions((), (*buried, text)).decode()]
    assert values(sum_expositions([], buried))["eas_requests_total{Sync}"] == 6


def test_statuses() -> None:
    other = replace(
        LIVELY,
        started_s=LIVELY.started_s - 5,
        draining=True,
        upstream=UpstreamLine(address="ex:443", problem="expired"),
        full=True,
        directory=DirectoryLine(state="unavailable", problem="timeout"),
        configuration=ConfigurationLine(problem="mode: no such mode"),
        cache=CacheStatistics(hits=1, entries=2, age_s=999.0),
        relationships=(),
        reasons=(ReasonCount(decision="redirect", reason="mailbox_moved", count=1_000_000),),
        ledger={"stuck": 3},
        open_waits=1,
    )
    merged = merge_statuses([LIVELY, other])
    assert merged.started_s == other.started_s
    assert merged.draining
    assert merged.upstream == replace(LIVELY.upstream, reachable=False, problem="expired")
    assert merged.full
    assert merged.directory == other.directory
    assert merged.configuration == other.configuration
    assert merged.cache == replace(
        LIVELY.cache, hits=LIVELY.cache.hits + 1, entries=LIVELY.cache.entries + 2, age_s=999.0
    )
    assert merged.relationships == LIVELY.relationships
    assert merged.reasons[0] == ReasonCount(
        decision="redirect", reason="mailbox_moved", count=1_003_120
    )
    assert merged.ledger == {**LIVELY.ledger, "stuck": 5}
    assert merged.open_waits == LIVELY.open_waits + 1
    assert len(merged.last) == 2 * len(LIVELY.last)
    assert [line.timestamp_s for line in merged.last] == sorted(
        (line.timestamp_s for line in merged.last), reverse=True
    )
    assert merged.workers == 2


def test_a_status_travels_as_json() -> None:
    assert STATUS.validate_json(STATUS.dump_json(LIVELY)) == LIVELY


def test_a_device_of_two_workers_is_one() -> None:
    """Its connections lie in both: what it did adds up, and the worse state counts. It may
    write its names in another case each time."""
    one = replace(LIVELY, stuck=(device("anna@contoso.example"),), moved=(device("fred", 7),))
    other = replace(
        LIVELY,
        stuck=(replace(device("Anna@contoso.example"), last_s=NOW_S, returns=9),),
        moved=(device("ANNA@contoso.example", state="quiet"), device("carl", 8, state="quiet")),
    )
    total = merge_statuses([one, other])
    [anna] = total.stuck
    assert (anna.returns, anna.last_s, len(anna.decisions)) == (13, NOW_S, 3)
    assert [line.user for line in total.moved] == ["fred", "carl"]
    nameless = replace(device("x"), user=None, device_id=None)
    two = merge_statuses([replace(one, stuck=(nameless,)), replace(other, stuck=(nameless,))])
    assert len(two.stuck) == 2, "who is not named is not known to be the same"


def test_of_errors_one_that_lasts_counts_and_of_certificates_the_worst() -> None:
    over = ErrorLine(text="was down", since_s=9.0, until_s=10.0)
    lasts = ErrorLine(text="is down", since_s=3.0)
    later = ErrorLine(text="is down, too", since_s=5.0)
    found = [
        replace(
            LIVELY,
            upstream=UpstreamLine(error=error),
            directory=DirectoryLine(error=error),
            configuration=ConfigurationLine(error=error),
            certificates=(CertificateLine(whose="phones", ends_s=ends_s, grave=grave),),
        )
        for error, ends_s, grave in ((over, 50.0, False), (lasts, 70.0, True), (later, 20.0, False))
    ]
    total = merge_statuses(found)
    errors = {total.upstream.error, total.directory.error, total.configuration.error}
    assert errors == {lasts}
    assert total.certificates == (CertificateLine(whose="phones", ends_s=70.0, grave=True),)
    assert merge_statuses(found[:1]).upstream.error == over
