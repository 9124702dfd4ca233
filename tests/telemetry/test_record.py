"""Judgements as journal records: what the directory found stands in them."""

from dataclasses import replace
from pathlib import Path

from eas_redirect.configuration.config import load_config
from eas_redirect.judging.explanation import AskedDevice, explain_user, open_judge
from eas_redirect.telemetry.record import MAX_TEXT, WireFacts, exchange_record
from tests.support import DATA


async def account_of(folder: Path, logon: str) -> str | None:
    config = folder / "eas-redirect.toml"
    config.write_text(f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n')
    found = await explain_user(open_judge(load_config(config)), logon, AskedDevice())
    assert found is not None
    return exchange_record(found.judgement, WireFacts(started_s=0.0)).user_id


async def test_an_account_has_one_id_under_each_of_its_logons(tmp_path: Path) -> None:
    anna = await account_of(tmp_path, "anna@contoso.example")
    assert anna is not None
    assert len(anna) == 16
    assert await account_of(tmp_path, "CONTOSO\\ANNA") == anna
    assert await account_of(tmp_path, "anna") == anna
    assert await account_of(tmp_path, "bert@contoso.example") not in (None, anna)


async def test_nobody_found_has_none(tmp_path: Path) -> None:
    assert await account_of(tmp_path, "nobody@contoso.example") is None


async def test_what_others_wrote_is_cut_before_anybody_keeps_it(tmp_path: Path) -> None:
    """Sinks keep records: a hostile header must not fill them."""
    long = "x" * (MAX_TEXT + 1)
    config = tmp_path / "eas-redirect.toml"
    config.write_text(f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n')
    judge = open_judge(load_config(config))
    found = await explain_user(judge, "bert@contoso.example", AskedDevice())
    assert found is not None
    exchange = found.judgement.exchange
    asked = replace(exchange.request, method=long, command=long)
    answer = replace(exchange.answer, location=long)
    judgement = judge.unanswered(replace(exchange, request=asked, answer=answer))
    wire = WireFacts(
        started_s=0.0, url_domain=long, url_path=long, user_agent=long, error_message=long
    )
    record = exchange_record(judgement, wire)
    for text in (
        record.method,
        record.command,
        record.redirect_location,
        record.url_domain,
        record.url_path,
        record.user_agent,
        record.error_message,
    ):
        assert text == long[:MAX_TEXT]
