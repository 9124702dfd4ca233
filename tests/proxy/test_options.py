"""The addon's options: what they say, and every wrong one at once."""

from pathlib import Path

import pytest

from eas_redirect.configuration.config import ConfigError
from eas_redirect.proxy.options import OPTIONS, Settings, read_options

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
