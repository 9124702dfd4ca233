"""Judgements as journal records: what the directory found stands in them."""

from pathlib import Path

from eas_redirect.configuration.config import load_config
from eas_redirect.judging.explanation import AskedDevice, explain_user, open_judge
from eas_redirect.telemetry.record import WireFacts, exchange_record
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
