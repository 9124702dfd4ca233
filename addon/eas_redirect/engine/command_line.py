"""Translates `eas-redirect run` into mitmdump's command line. Imports nothing of mitmproxy."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eas_redirect.configuration.kinds import Listen
from eas_redirect.proxy import profile

_TRUST = "ssl_verify_upstream_trusted_ca="


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that decides mitmdump's command line."""

    config: Path
    upstream: str
    listen: Listen
    script: Path
    certificate: Path | None = None
    upstream_ca: Path | None = None
    engine: str = "full"
    further: Sequence[str] = ()


def reserve(listen: Listen) -> socket.socket:
    """Make sure that nobody else uses the port (choose one if it is 0) and reserve it: bound but
    not listening, so that processes of this user can share it. Raises OSError."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((listen.host, listen.port))
        port = probe.getsockname()[1]
    held = socket.socket(family)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier run
    if hasattr(socket, "SO_REUSEPORT"):
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((listen.host, port))
    return held


def mitmdump_arguments(plan: Plan) -> list[str]:
    """mitmdump's arguments, without its name. The user's own come last and win."""
    listen = ["--listen-port", str(plan.listen.port)]
    if plan.listen.host:
        listen = ["--listen-host", plan.listen.host, *listen]
    certificate = ["--certs", f"*={plan.certificate}"] if plan.certificate else []
    trust = _TRUST + str(plan.upstream_ca)
    if plan.upstream_ca is None or any(word.startswith(_TRUST) for word in plan.further):
        trust = ""
    return [
        "--mode",
        f"reverse:{plan.upstream}",
        *listen,
        *certificate,
        *(("--set", trust) if trust else ()),
        *_profile(plan.further),
        "-s",
        str(plan.script),
        "--set",
        f"eas_config={plan.config}",
        *_unless_set("eas_engine", plan.engine, plan.further),
        *plan.further,
    ]


def without_option(option: str, further: Sequence[str]) -> tuple[str | None, list[str]]:
    """What `--set OPTION=VALUE` among mitmdump's arguments says last (None: nothing), and the
    arguments without it."""
    value: str | None = None
    rest: list[str] = []
    words = iter(further)
    for word in words:
        if word == "--set":
            spec, taken = next(words, ""), [word]
        else:
            spec, taken = word.removeprefix("--set="), []
            if spec == word:
                rest.append(word)
                continue
        name, _, text = spec.partition("=")
        if name == option:
            value = text
        else:
            rest += [*taken, spec] if taken else [word]
    return value, rest


def _unless_set(option: str, value: str, further: Sequence[str]) -> list[str]:
    """An option, unless the user sets it: mitmproxy refuses a second value."""
    theirs = any(word.startswith(f"{option}=") for word in further)
    return [] if theirs else ["--set", f"{option}={value}"]


def _profile(further: Sequence[str]) -> list[str]:
    """The profile without what the user sets: mitmproxy refuses a second value."""
    theirs = {word.partition("=")[0] for word in further}
    words = profile.arguments()
    pairs = zip(words[::2], words[1::2], strict=True)
    return [w for pair in pairs if pair[1].partition("=")[0] not in theirs for w in pair]
