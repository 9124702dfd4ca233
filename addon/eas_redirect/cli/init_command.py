"""`eas-redirect init`: writes a commented configuration to start from."""

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
    `check` proves is what `run` runs. Asks nothing and overwrites nothing.
    """
    text = template()
    for table, key, value in (
        ("proxy", "upstream", upstream),
        ("proxy", "upstream_ca", upstream_ca),
        ("proxy", "cert", cert),
        ("proxy", "listen", listen),
        ("metrics", "listen", metrics),
    ):
        if value:
            text = _fill(text, table, key, _toml_text(value))
    if name:
        text = _fill(text, "exchange", "host_names", _toml_list(name))
    if server:
        text = _fill(text, "directory", "servers", _toml_list(server))
    if snapshot:
        text = _fill(text, "directory", "snapshot", _toml_text(snapshot))
    _write(file, text)
    print(file)
    tell(f"Edit it, then try it: eas-redirect check --config {file}")


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
