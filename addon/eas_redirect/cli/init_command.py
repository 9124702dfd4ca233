"""`eas-redirect init`: writes a commented configuration to start from."""

import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from eas_redirect.cli.common import DEFAULT_CONFIG, USAGE, fail, tell


def init(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write it.")
    ] = DEFAULT_CONFIG,
    server: Annotated[
        list[str] | None,
        typer.Option("--server", metavar="URL", help="Fill in directory.servers; may repeat."),
    ] = None,
    upstream: Annotated[
        str | None, typer.Option("--upstream", metavar="URL", help="Fill in proxy.upstream.")
    ] = None,
    upstream_ca: Annotated[
        str | None,
        typer.Option("--upstream-ca", metavar="PEM", help="Fill in proxy.upstream_ca."),
    ] = None,
    cert: Annotated[
        str | None, typer.Option("--cert", metavar="FILE", help="Fill in proxy.cert.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="[HOST:]PORT", help="Fill in proxy.listen.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="HOST:PORT", help="Fill in metrics.listen."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="HOST", help="Fill in exchange.host_names; may repeat."),
    ] = None,
    snapshot: Annotated[
        str | None, typer.Option("--snapshot", metavar="LDIF", help="Fill in directory.snapshot.")
    ] = None,
) -> None:
    """Write a commented eas-redirect.toml to begin with.

    It has observe mode and every key with its default. What you name is filled in, so that what
    `check` proves is what `run` runs, and named once more if it cannot be right. Asks nothing and
    overwrites nothing.
    """
    _refuse_no_file(file)
    text = template()
    filled: list[str] = []
    for table, key, value in (
        ("proxy", "upstream", upstream),
        ("proxy", "upstream_ca", upstream_ca),
        ("proxy", "cert", cert),
        ("proxy", "listen", listen),
        ("metrics", "listen", metrics),
        ("exchange", "host_names", name),
        ("directory", "servers", server),
        ("directory", "snapshot", snapshot),
    ):
        if value:
            said = _toml_text(value) if isinstance(value, str) else _toml_list(value)
            text = _fill(text, table, key, said)
            filled.append(f"{table}.{key}")
    _write(file, text)
    print(file)
    for problem in _problems(file, filled):
        tell(problem)
    tell(f"Edit it, then try it: eas-redirect check --config {file}")


def _refuse_no_file(file: Path) -> None:
    if re.match(r"(?:https?|ldaps?):/", str(file)):
        fail(f"{file}: is a URL and no file to write: name it with --upstream or --server.", USAGE)
    if file.is_dir():
        fail(f"{file} is a folder: name a file in it, such as {file / DEFAULT_CONFIG}.", USAGE)


def _problems(file: Path, filled: list[str]) -> list[str]:
    """What is wrong with the values that were filled in, as `check` says it."""
    from eas_redirect.configuration.config import ConfigError, load_config

    try:
        load_config(file, environment={})
    except ConfigError as error:
        return [one for one in error.problems if any(f": {key}" in one for key in filled)]
    return []


def template() -> str:
    """The file as the package holds it; valid once a directory is named."""
    return resources.files("eas_redirect").joinpath("data/eas-redirect.toml").read_text("utf-8")


def _fill(text: str, table: str, key: str, value: str) -> str:
    """Give a key of a table its value, whether the key is commented out or not."""
    lines = text.splitlines()
    begin = lines.index(f"[{table}]")
    at = next(n for n in range(begin, len(lines)) if _is_key(lines[n], key))
    lines[at] = f"{key} = {value}"
    return "\n".join(lines) + "\n"


def _is_key(line: str, key: str) -> bool:
    return line.removeprefix("# ").startswith(f"{key} = ")


def _toml_list(values: list[str]) -> str:
    return f"[{', '.join(map(_toml_text, values))}]"


def _toml_text(value: str) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        fail(f"{file} is there already and stays as it is; name another file.", USAGE)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}.", USAGE)
