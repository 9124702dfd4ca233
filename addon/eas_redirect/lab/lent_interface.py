"""An interface of this machine, lent to the lab's gateway and restored afterwards.

An interface that moves into another namespace loses its addresses, routes, state and settings, and
a virtual one ends with that namespace. So the lab first records the interface as commands that
restore it. A keeper, a shell that holds both namespaces, runs them when the lab ends; a pipe tells
it, even if the lab is killed. Until then the work directory holds the commands too: if lab and
keeper are killed together, the kernel returns a physical interface without its settings.
"""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from eas_redirect.lab.placement import GATE, Namespace, NamespaceError, run_here

GIVE_BACK_S = 20.0
_FOR_EVER = 4_294_967_295  # seconds: an address without an end
_OF_THE_KERNEL = frozenset({"kernel", "kernel_ll"})
_FLAGS = {"noprefixroute": "noprefixroute", "nodad": "nodad", "mngtmpaddr": "mngtmpaddr"}
# What `ip route` shows and does not take: a word alone, or with the one behind it.
_SHOWN_ALONE = frozenset({"linkdown", "dead", "offload", "trap", "notify"})
_SHOWN_WITH_A_VALUE = frozenset({"error", "users", "age"})


@contextmanager
def lent(interface: str, work: Path, say: Callable[[str], None], gate: Namespace) -> Iterator[None]:
    """Inside, the interface is in the gateway, up and with its address; afterwards it is
    restored."""
    keeper = _Keeper(interface, work, gate)
    try:
        run_here("ip", "link", "set", interface, "netns", gate.path)
    except NamespaceError:
        keeper.dismiss()
        raise
    try:
        gate.run("ip", "address", "add", f"{GATE}/24", "dev", interface)
        gate.run("ip", "link", "set", interface, "up")
        yield
    finally:
        for line in keeper.give_back():
            say(line)


class _Keeper:
    """Gives the interface back when the lab ends, for whatever reason."""

    def __init__(self, interface: str, work: Path, gate: Namespace) -> None:
        self._interface = interface
        self._script, self._log = work / "give-back.sh", work / "give-back.log"
        self._refuse_what_is_still_away()
        commands = list(commands_for(interface))
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(gate.path, os.O_RDONLY)
        try:
            script = shlex.quote(str(self._script.resolve()))
            _write_private(self._script, "\n".join([*commands, f"rm -f {script}", ""]))
            text = "\n".join(
                [
                    "trap '' HUP INT TERM",
                    "read -r _",  # until the lab is gone
                    f"nsenter --net=/proc/self/fd/{inside} "
                    + shlex.join(
                        ["ip", "link", "set", interface, "netns", f"/proc/self/fd/{home}"]
                    ),
                    *commands,
                    f"rm -f {script}",
                ]
            )
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    ["sh", "-c", text],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(home, inside),
                    start_new_session=True,  # Ctrl-C and a closed terminal are the lab's
                )
        finally:
            os.close(home)
            os.close(inside)

    def _refuse_what_is_still_away(self) -> None:
        deadline = time.monotonic() + 3
        while self._script.exists():
            if time.monotonic() > deadline:
                raise NamespaceError(
                    "The last lab here was killed before it gave its interface back. Run"
                    f" `sudo sh {self._script}`, or delete that file if all is well."
                )
            time.sleep(0.05)

    def dismiss(self) -> None:
        """Nothing was taken."""
        self._process.kill()
        self._process.communicate()
        self._script.unlink(missing_ok=True)

    def give_back(self) -> list[str]:
        """What a person must know about it: nothing, if everything is restored."""
        try:
            self._process.communicate(timeout=GIVE_BACK_S)
        except subprocess.TimeoutExpired:
            return [f"{self._interface} is still being given back; see {self._log}"]
        complaints = self._log.read_text("utf-8", "replace").strip()
        if not complaints:
            return []
        if not Path("/sys/class/net", self._interface).exists():
            return [f"{self._interface} was pulled out"]
        return [f"{self._interface} is back, but not quite as it was: {complaints}"]


def _write_private(path: Path, text: str) -> None:
    path.touch(0o600, exist_ok=False)
    path.write_text(text, "utf-8")


def commands_for(interface: str) -> Iterator[str]:
    """Shell lines that restore a bare interface to what this one is now: settings, state,
    addresses, routes. What the kernel adds by itself is left to it."""
    link = _ip_json("link", "show", "dev", interface)
    yield from _settings(interface)
    if isinstance(bridge := link.get("master"), str):
        yield _ip("link", "set", interface, "master", bridge)
    flags = link.get("flags")
    is_up = isinstance(flags, list) and "UP" in flags
    yield _ip("link", "set", interface, "up" if is_up else "down")
    addresses = _ip_json("address", "show", "dev", interface).get("addr_info")
    for address in addresses if isinstance(addresses, list) else ():
        if address.get("protocol") not in _OF_THE_KERNEL and not address.get("temporary"):
            yield _ip("address", "replace", *_address(address), "dev", interface)
    routes = [(family, words) for family in ("-4", "-6") for words in _routes(interface, family)]
    for family, words in sorted(routes, key=lambda route: "via" in route[1]):
        yield _ip(family, "route", "replace", *words, "dev", interface)


def _settings(interface: str) -> Iterator[str]:
    """Those under /proc/sys that differ from what every new interface gets."""
    for family in ("ipv4", "ipv6"):
        usual = Path("/proc/sys/net", family, "conf/default")
        for file in sorted(Path("/proc/sys/net", family, "conf", interface).glob("*")):
            value = _value(file)
            if (
                value is not None
                and value != _value(usual / file.name)
                and os.access(file, os.W_OK)
            ):
                yield f"printf %s {shlex.quote(value)} > {shlex.quote(str(file))}"


def _value(file: Path) -> str | None:
    """None for a setting that is not set, which cannot be read either."""
    try:
        return file.read_text("ascii").strip()
    except OSError:
        return None


def _address(address: Mapping[str, object]) -> Iterator[str]:
    """In the form that `ip address` takes. `address` is the far end of a point-to-point link."""
    local, peer = str(address["local"]), address.get("address")
    if isinstance(peer, str):
        yield from (local, "peer", f"{peer}/{address['prefixlen']}")
    else:
        yield f"{local}/{address['prefixlen']}"
    for name in ("broadcast", "scope", "label", "metric"):
        if (value := address.get(name)) is not None:
            yield from (name, str(value))
    yield from (word for flag, word in _FLAGS.items() if address.get(flag))
    lives = (address.get("valid_life_time"), address.get("preferred_life_time"))
    if lives[0] not in (None, _FOR_EVER):
        yield from ("valid_lft", str(lives[0]), "preferred_lft", str(lives[1]))


def _routes(interface: str, family: str) -> Iterator[list[str]]:
    """Those in every table that somebody has set: the kernel makes its own with the addresses."""
    for line in _output(family, "route", "show", "table", "all", "dev", interface).splitlines():
        words = iter(line.split())
        route: list[str] = []
        for word in words:
            if word in _SHOWN_WITH_A_VALUE:
                next(words, None)
            elif word not in _SHOWN_ALONE:
                route.append(word.removesuffix("sec") if route[-1:] == ["expires"] else word)
        if "proto kernel" not in " ".join(route):
            yield route


def _ip(*words: str) -> str:
    return shlex.join(("ip", *words))


def _ip_json(*words: str) -> Mapping[str, object]:
    found = json.loads(_output("-json", *words))
    return next((one for one in found if one), {})


def _output(*words: str) -> str:
    try:
        done = subprocess.run(("ip", *words), capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NamespaceError("ip is not installed.") from error
    if done.returncode != 0:
        raise NamespaceError(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
