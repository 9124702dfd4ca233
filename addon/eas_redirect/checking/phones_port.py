"""The ports that `run` will take, of phones (`proxy.listen`) and of the pages (`metrics.listen`):
can they be had, and who has them?"""

import errno
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from eas_redirect.activesync.host_port import read_host_port
from eas_redirect.checking.tried import Check, failed, good, warning
from eas_redirect.configuration.config import Config
from eas_redirect.configuration.kinds import Listen
from eas_redirect.engine.command_line import reserve
from eas_redirect.telemetry.web import ask_running

SUBJECT = "proxy.listen"
_OURS = ("eas-redirect", "eas_redirect", "redirect.py")  # of a command line, `mitmdump -s` too


def check_port(config: Config, timeout_s: float) -> Iterator[Check]:
    """As `run` will take it: bound for a moment, unless the proxy runs already."""
    listen = config.proxy.listen
    if config.proxy.upstream is None or listen.port == 0:
        return
    where = f"{listen.host or 'every address'}, port {listen.port}"
    try:
        reserve(listen).close()
    except OSError as error:
        yield _refused(config, where, error, timeout_s)
    else:
        yield good(SUBJECT, f"{where}: free")


def check_pages_port(config: Config, timeout_s: float) -> Iterator[Check]:
    """The pages' own: without it `run` does not start. Nothing is said where all is well."""
    if config.metrics.listen is None:
        return
    host, port = read_host_port(config.metrics.listen)
    try:
        reserve(Listen(host, port)).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _answers(config.metrics.listen, timeout_s):
            return
        finding = f"{config.metrics.listen}: {error.strerror}"
        yield failed("metrics.listen", finding, "Choose another, or end what has it.")


def _refused(config: Config, where: str, error: OSError, timeout_s: float) -> Check:
    port = config.proxy.listen.port
    if isinstance(error, PermissionError):
        advice = (
            "The service may (AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit). To run it by"
            " hand, choose a port above 1023."
        )
        return warning(SUBJECT, f"{where}: not for an ordinary user", advice)
    if error.errno != errno.EADDRINUSE:
        advice = "Name an address of this machine, or the port alone for all of them."
        return failed(SUBJECT, f"{where}: {error.strerror}", advice)
    owners = owners_of(port)
    if any(_is_ours(words) for _, words in owners) or (
        not owners and _answers(config.metrics.listen, timeout_s)
    ):
        return good(SUBJECT, f"{where}: the proxy is running")
    named = ", ".join(f"{Path(words[0]).name} (process {pid})" for pid, words in owners)
    advice = "End it, or choose another port; `ss -ltnp`, as root, tells whose it is."
    if "haproxy" in named:
        advice = f"If it carries for this configuration, give --haproxy DIR. Else: {advice}"
    return failed(SUBJECT, f"{where}: in use by {named or 'another program'}", advice)


def _is_ours(words: list[str]) -> bool:
    return any(Path(word).name.partition(".engine")[0] in _OURS for word in words)


def _answers(listen: str | None, timeout_s: float) -> bool:
    """Whether one of our proxies serves its pages there, for users who cannot see socket owners."""
    if listen is None:
        return False
    try:
        return b"eas_" in ask_running(listen, "/metrics", timeout_s)[1]
    except OSError:
        return False


def listening(port: int) -> Iterator[tuple[str, str]]:
    """The address, as the kernel writes it, and the inode of each socket that listens (Linux)."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for row in Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]:
                fields = row.split()
                address, state, inode = fields[1], fields[3], fields[9]
                if state == "0A" and int(address.rpartition(":")[2], 16) == port:
                    yield address, inode


def owners_of(port: int) -> list[tuple[int, list[str]]]:
    """The processes that listen, with their command lines, as far as this user may see them."""
    wanted = {f"socket:[{inode}]" for _, inode in listening(port)}
    found: list[tuple[int, list[str]]] = []
    for process in Path("/proc").glob("[0-9]*") if wanted else ():
        with suppress(OSError):
            if any(str(file.readlink()) in wanted for file in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                found.append((int(process.name), words))
    return sorted(found)
