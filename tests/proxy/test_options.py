"""The addon's options: what they say, and every wrong one at once."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from eas_redirect.configuration.config import ConfigError
from eas_redirect.proxy.options import (
    OPTIONS,
    Settings,
    options_without_one_value,
    read_options,
)

UNSET = dict.fromkeys(OPTIONS, "")


def test_only_what_is_set_overrides_the_file() -> None:
    assert read_options(UNSET | {"eas_config": "x.toml"}) == Settings(
        path=Path("x.toml"), overrides={}, keep_bodies=False, engine="safe"
    )
    given = {"eas_config": "x", "eas_mode": "observe", "eas_journal": "-", "eas_bodies": "keep"}
    given |= {"eas_engine": "off"}
    assert read_options(UNSET | given) == Settings(
        path=Path("x"),
        overrides={"mode": "observe", "journal.path": "-"},
        keep_bodies=True,
        engine="off",
    )


def test_every_wrong_option_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        read_options(UNSET | {"eas_mode": "enforced", "eas_bodies": "all", "eas_engine": "fast"})
    problems = caught.value.problems
    assert [problem.partition("=")[0].partition(":")[0] for problem in problems] == [
        "eas_mode",
        "eas_bodies",
        "eas_engine",
        "eas_config",
    ]
    assert "must be observe or enforce" in problems[0]
    assert "must be full, safe, off or stock" in problems[2]


def test_an_option_that_has_not_one_text_is_taken_out_and_said() -> None:
    """mitmproxy keeps what `--set` says as an object with the texts, and values of its config.yaml
    as they are."""
    deferred = {
        "eas_config": SimpleNamespace(val=["e.toml"]),
        "eas_mode": SimpleNamespace(val=["observe", "enforce"]),
        "eas_journal": SimpleNamespace(val=[]),
        "eas_bodies": "keep",
        "eas_metrics": 9410,
        "another": SimpleNamespace(val=["1", "2"]),
    }
    assert options_without_one_value(deferred) == [
        "eas_journal takes one text, and is given no value: set it once",
        "eas_metrics takes one text, and is given 9410: set it once",
        "eas_mode takes one text, and is given observe, enforce: set it once",
    ]
    assert set(deferred) == {"eas_config", "eas_bodies", "another"}
