"""Starts the real mitmdump of the lab, with the real shim, in front of the Exchange stand-in."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eas_redirect import shim
from eas_redirect.lab.processes import Child, NotStartedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A running mitmdump and the address that it listens on."""

    child: Child
    address: tuple[str, int]


def script() -> Path:
    """The shim, or NotStartedError."""
    found = shim.find()
    if found is None:
        raise NotStartedError("redirect.py is missing beside the package.")
    return found


def mitmdump() -> str:
    """The mitmdump of this Python, else the one on PATH."""
    own = Path(sys.executable).with_name("mitmdump")
    found = str(own) if own.is_file() else shutil.which("mitmdump")
    if found is None:
        raise NotStartedError("mitmdump was not found beside this Python or on PATH.")
    return found


def start_proxy(
    config: Path,
    log: Path,
    *,
    mode: str,
    confdir: Path,
    certificates: Sequence[str] = (),
    upstream_ca: Path,
    listen: tuple[str, int],
) -> Proxy:
    """mitmdump with the shim; returns when it listens. `certificates` are `--certs` values."""
    settings = {
        "eas_config": str(config),
        "confdir": str(confdir),
        "ssl_verify_upstream_trusted_ca": str(upstream_ca),
        "listen_host": listen[0],
        "listen_port": str(listen[1]),
        "flow_detail": "0",
    }
    command = [mitmdump(), "-s", str(script()), "--mode", mode]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    for certificate in certificates:
        command += ["--certs", certificate]
    child = Child("mitmdump", command, log)
    try:
        listening = child.wait_for(r"listening at .*:(\d+)")
    except BaseException:
        child.stop()
        raise
    return Proxy(child=child, address=(listen[0], int(listening[1])))
