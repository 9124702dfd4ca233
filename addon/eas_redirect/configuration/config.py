"""eas-redirect.toml → `Config`: every key of the file, all problems at once with their places.

`policy`, `directory_settings` and `cache_settings` give the other rooms what they need of it.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eas_redirect.configuration.contradictions import contradictions
from eas_redirect.configuration.problems import Place, dotted, in_words, key_lines, parsed
from eas_redirect.configuration.tables import Config, CriteriaConfig
from eas_redirect.directory.values import (
    CacheSettings,
    DirectorySettings,
    OrganizationRelationship,
)
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.endpoint import DEFAULT_HOST_MAP
from eas_redirect.policy.waves import Criteria, Wave, user_names

__all__ = [
    "Config",
    "ConfigError",
    "cache_settings",
    "directory_settings",
    "load_config",
    "policy",
]


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has a line for each thing to mend."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_config(path: Path, overrides: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file, or ConfigError with every problem.

    `overrides`: dotted keys that options outside the file set (`mode`, `journal.path`); a path
    among them is relative to the working directory.
    """
    text = _read(path)
    try:
        document = parsed(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((f"{path}: not TOML: {error}",)) from error
    for key, value in (overrides or {}).items():
        _override(document, key, value)
    return _validate(document, path, text, frozenset(overrides or {}))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problem = "there is no such file; `eas-redirect init` writes one"
    except UnicodeDecodeError:
        problem = "is no text in UTF-8"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise ConfigError((f"{path}: {problem}",))


def _override(document: dict[str, Any], key: str, value: str) -> None:
    table, _, name = key.rpartition(".")
    target = document.setdefault(table, {}) if table else document
    if isinstance(target, dict):
        is_path = name.endswith("path") and value not in {"", "-"}
        target[name] = str(Path.cwd() / value) if is_path else value


def _validate(
    document: dict[str, Any], path: Path, text: str, overridden: frozenset[str]
) -> Config:
    problems: list[tuple[Place, str]] = []
    config = None
    try:
        context = {"base": path.resolve().parent}
        config = Config.model_validate(document, context=context)
    except ValidationError as errors:
        problems += [(error["loc"], in_words(error, Config)) for error in errors.errors()]
    problems += contradictions(document)
    if config is None or problems:
        raise ConfigError(_with_places(problems, path, text, overridden))
    return config


def _with_places(
    problems: list[tuple[Place, str]], path: Path, text: str, overridden: frozenset[str]
) -> tuple[str, ...]:
    lines = key_lines(text)
    found: dict[str, int] = {}
    for place, message in problems:
        key = dotted(place)
        line = next((lines[p] for n in range(len(place), 0, -1) if (p := place[:n]) in lines), 0)
        where = "an option" if key in overridden else f"{path}:{line}" if line else str(path)
        found.setdefault(f"{where}: {key}: {message}", line)
    return tuple(sorted(found, key=found.__getitem__))


def policy(config: Config) -> Policy:
    """What the decision needs. Reads the files of users anew; ConfigError when one is gone."""
    redirect = config.redirect
    return Policy(
        own_names=frozenset(config.exchange.host_names),
        min_protocol_version=config.exchange.min_protocol_version,
        weak_statuses=frozenset(config.exchange.weak_statuses),
        host_map={**DEFAULT_HOST_MAP, **redirect.hosts},
        allowed_hosts=redirect.allowed_hosts,
        relationships=tuple(
            OrganizationRelationship(**entry.model_dump(), source="configuration")
            for entry in redirect.relationships
        ),
        wave=Wave(only=_criteria(redirect.only), exclude=_criteria(redirect.except_)),
    )


def _criteria(table: CriteriaConfig) -> Criteria:
    users = None if table.users is None else user_names(table.users)
    if table.users_file is not None:
        users = (users or frozenset()) | _users_of(table.users_file)
    return Criteria(
        users=users,
        percent=table.percent,
        device_types=table.device_types,
        networks=table.networks,
    )


def _users_of(path: Path) -> frozenset[str]:
    return user_names(_read(path).splitlines())


def directory_settings(config: Config) -> DirectorySettings:
    """The `[directory]` keys for asking servers."""
    values = config.directory.model_dump(exclude={"snapshot", "ca_file", "password_file"})
    return DirectorySettings(
        **values,
        ca_file=_as_text(config.directory.ca_file),
        password_file=_as_text(config.directory.password_file),
        default_domain=config.exchange.default_domain,
    )


def _as_text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def cache_settings(config: Config) -> CacheSettings:
    """The `[cache]` keys for `cache.py`."""
    return CacheSettings(**config.cache.model_dump())
