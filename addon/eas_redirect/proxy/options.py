"""The mitmproxy options of the addon, and what they mean together with the file. No mitmproxy here.

All are strings: a typed option with a wrong value on the command line would silently disable a
script, and traffic would pass without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from eas_redirect.configuration.config import ConfigError
from eas_redirect.configuration.sources import Override

type Engine = Literal["full", "safe", "off", "stock"]

ENGINES: tuple[Engine, ...] = get_args(Engine.__value__)
OPTIONS = {
    "eas_config": "Path of the eas-redirect.toml, or env: where the environment says everything.",
    "eas_mode": "observe (decide and journal only) or enforce; overrides the file's mode.",
    "eas_journal": "Path of the journal, - for standard output; overrides the file's.",
    "eas_bodies": "stream (default), or keep: keep every body for views and captures.",
    "eas_engine": "How much of mitmproxy is replaced: full, safe (default), off, stock.",
    "eas_metrics": "host:port, unix:PATH or off; overrides the file's metrics.listen.",
}
_CHOICES = {
    "eas_mode": ("observe", "enforce"),
    "eas_bodies": ("stream", "keep"),
    "eas_engine": ENGINES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the options say; `overrides` are dotted keys of the file."""

    path: Path
    overrides: dict[str, Override]
    keep_bodies: bool
    engine: Engine


def options_without_one_value(deferred: dict[str, Any]) -> list[str]:
    """Take the options that do not have one value out of what mitmproxy has still to set, and say
    so of each: for such a one it would leave out the whole script, without a word.

    `deferred`: by the option's name, what `--set` says (an object with the texts) or a value of
    mitmproxy's config.yaml.
    """
    problems = []
    for name in OPTIONS.keys() & deferred.keys():
        texts = getattr(deferred[name], "val", [deferred[name]])
        if len(texts) != 1 or not isinstance(texts[0], str):
            del deferred[name]
            said = ", ".join(map(str, texts)) or "no value"
            problems.append(f"{name} takes one text, and is given {said}: set it once")
    return sorted(problems)


def read_options(values: Mapping[str, str]) -> Settings:
    """Read the options' values by name; an empty one was not set. Raises ConfigError."""
    problems = [
        f"{name}={values[name]!r}: must be {', '.join(allowed[:-1])} or {allowed[-1]}"
        for name, allowed in _CHOICES.items()
        if values[name] and values[name] not in allowed
    ]
    if not values["eas_config"]:
        advice = "`eas-redirect init` writes one; name it with --set eas_config=FILE"
        problems.append(f"eas_config: no configuration: {advice}")
    if problems:
        raise ConfigError(tuple(problems))
    overrides: dict[str, Override] = {}
    if values["eas_mode"]:
        overrides["mode"] = values["eas_mode"]
    if journal := values["eas_journal"]:
        overrides["journal.path"] = journal if journal == "-" else Path(journal)
    return Settings(
        path=Path(values["eas_config"]),
        overrides=overrides,
        keep_bodies=values["eas_bodies"] == "keep",
        engine=next((e for e in ENGINES if e == values["eas_engine"]), "safe"),
    )
