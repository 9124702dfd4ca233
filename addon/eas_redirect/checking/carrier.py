"""HAProxy as the carrier: what is installed, the files that it was given, and its judges."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from eas_redirect.checking.phones_port import listening
from eas_redirect.checking.tried import Check, failed, good, unreachable, warning
from eas_redirect.configuration.config import Config
from eas_redirect.haproxy.files import (
    CONFIGURATION,
    HEADER_CASE,
    LUA,
    Place,
    Site,
    SiteError,
    written_files,
)
from eas_redirect.haproxy.question import JudgeReply, Question, written_question, written_reply
from eas_redirect.policy.reasons import Reason

WRITTEN_FOR = (2, 6)
_VERSION = re.compile(r"HAProxy version (\d+)\.(\d+)")
_CHROOT = re.compile(r"(?m)^\s*chroot\s+(\S+)")
_DROPPED = re.compile(r"(?m)^DroppedLogs: (\d+)")
_PID = re.compile(r"(?m)^Pid: (\d+)")
_IDS = re.compile(r"(?m)^(Uid|Gid|Groups):(.*)")
_UPTIME = re.compile(r"(?m)^Uptime_sec: (\d+)")
_ADMIN = re.compile(r"(?m)^\s*stats socket (\S+)")
_OLD_TLS = "ssl-min-ver TLSv1.0"
_OPTIONS = ("maxconn", "stats socket", "#")  # lines that options of the command decide; comments
_SECTION = re.compile(
    r"(backend|cache|defaults|frontend|global|http-errors|listen|mailers|peers|program|resolvers"
    r"|ring|userlist)( |$)"
)
_AGAIN = "Run eas-redirect haproxy again with the same options, and reload HAProxy."
_NOTHING_TO_DO = written_reply(JudgeReply(word="pass", reason=str(Reason.OTHER_ANSWER)))
_SEE = "See docs/deploy, “HAProxy carries, eas-redirect judges”."


def check_haproxy(config: Config, folder: Path, timeout_s: float) -> Iterator[Check]:
    """`folder`: what `eas-redirect haproxy -o` wrote."""
    yield check_program(timeout_s)
    try:
        text = (folder / CONFIGURATION).read_text("utf-8")
    except (OSError, UnicodeError):
        finding = f"there is no {folder / CONFIGURATION} that can be read"
        yield failed("haproxy files", finding, f"Run eas-redirect haproxy -o {folder}.")
        return
    yield from _check_files(config, folder, text)
    yield from _check_accepted(folder, timeout_s)
    yield from _check_port(config.proxy.listen.port)
    yield from _check_running(config, folder, text, timeout_s)
    for server in config.judge.servers:
        yield _check_judge(server, timeout_s)


def check_program(timeout_s: float) -> Check:
    """The HAProxy installed here."""
    said = _run(["-vv"], timeout_s)
    if said is None:
        return failed("haproxy", "it is not installed here", "apt-get install haproxy")
    found = _VERSION.search(said.stdout)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    name = "version {}.{}".format(*version) if found else "of a version that it does not tell"
    if "+LUA" not in said.stdout and "USE_LUA=1" not in said.stdout:
        return failed("haproxy", f"{name}, built without Lua", "Install one that has it: 2.6.")
    if version < WRITTEN_FOR:
        return failed("haproxy", f"{name}; it cannot run the files, which need 2.6", "Install 2.6.")
    if version > WRITTEN_FOR:
        finding = f"{name}; the files are written for, and tried with, 2.6"
        return warning("haproxy", finding, "Try it in front of a test server first.")
    return good("haproxy", f"{name} with Lua")


def haproxy_program() -> str | None:
    """Its path, if there is one here. An administrator's PATH often lacks sbin."""
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
    return shutil.which("haproxy", path=path)


def _run(words: list[str], timeout_s: float) -> "subprocess.CompletedProcess[str] | None":
    program = haproxy_program()
    if program is None:
        return None
    try:
        return subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _check_files(config: Config, folder: Path, text: str) -> Iterator[Check]:
    """The Lua and the header names depend only on the configuration; haproxy.cfg also holds
    options of the command, and perhaps an administrator's own lines."""
    found = _CHROOT.search(text)
    chroot = None if found is None else Path(found[1])
    site = Site(folder=folder.absolute(), chroot=chroot, old_tls=_OLD_TLS in text)
    try:
        written = written_files(config, site)
    except SiteError as error:
        for problem in error.problems:
            yield failed("haproxy files", problem, _SEE)
        return
    stale = [name for name in (LUA, HEADER_CASE) if _differs(folder / name, written[name])]
    if stale:
        finding = f"{', '.join(stale)} in {folder} are not what this configuration asks for"
        yield failed("haproxy files", finding, _AGAIN)
    elif (changed := _changed(written[CONFIGURATION], text)) is not None:
        advice = "Write the file again, and add your own lines to it; or make sure that yours do."
        yield warning("haproxy files", changed, advice)
    else:
        yield good("haproxy files", f"{folder}: as this configuration asks for")


def _changed(written: str, text: str) -> str | None:
    """What of the lines that this configuration asks for is not in haproxy.cfg, or not in their
    order. An administrator's own lines between them are none of our business."""
    asked, present = list(_lines(written)), list(_lines(text))
    if missing := [line for line in asked if line not in present]:
        section, line = missing[0]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"{CONFIGURATION} lacks a line that is asked for: in {section}, {line}{more}"
    rest = iter(present)
    for section, line in asked:
        if (section, line) not in rest:  # takes `rest` up to this line
            return f"{CONFIGURATION} has its lines in another order: in {section}, before {line}"
    return None


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Each line with its section, its blanks made one."""
    section = ""
    for raw in text.splitlines():
        words = raw.split()
        line = " ".join(words)
        if not words or line.startswith(_OPTIONS):
            continue
        if _SECTION.match(line):
            section = line
        yield section, line


def _differs(path: Path, text: str) -> bool:
    try:
        return path.read_text("utf-8") != text
    except (OSError, UnicodeError):
        return True


def _check_accepted(folder: Path, timeout_s: float) -> Iterator[Check]:
    said = _run(["-c", "-f", str(folder / CONFIGURATION)], timeout_s)
    if said is None:
        return
    lines = [t for t in said.stderr.splitlines() if "[ALERT]" in t or "[WARNING]" in t]
    if said.returncode or lines:
        finding = lines[0] if lines else f"haproxy -c ends with {said.returncode}"
        yield failed("haproxy -c", finding, "Mend the line, or write the files again.")
    else:
        yield good("haproxy -c", "accepts the configuration without a warning")


def _check_port(port: int) -> Iterator[Check]:
    """Two HAProxys on one port start without an error, and each takes half of the connections. A
    reload hands the same socket on, so there is one for each address."""
    sockets: dict[str, set[str]] = {}
    for address, inode in listening(port):
        sockets.setdefault(address, set()).add(inode)
    if any(len(inodes) > 1 for inodes in sockets.values()):
        finding = f"several programs share port {port}: each takes a part of the connections"
        yield failed("haproxy port", finding, "End all but one: ss -ltnp tells which they are.")


def _check_running(config: Config, folder: Path, text: str, timeout_s: float) -> Iterator[Check]:
    """What HAProxy says of itself; nothing if it does not run, or this user may not ask."""
    found = _ADMIN.search(text)
    said = "" if found is None else _asked(found[1].strip('"'), "show info", timeout_s)
    if uptime := _UPTIME.search(said):
        started_s = time.time() - int(uptime[1])
        later = [
            name for name in (CONFIGURATION, LUA, HEADER_CASE) if _since(folder / name, started_s)
        ]
        if later:
            finding = f"it runs with older files: {', '.join(later)} changed after it started"
            yield warning("haproxy running", finding, "Reload HAProxy.")
        else:
            yield good("haproxy running", "started after the last change of its files")
    if pid := _PID.search(said):
        yield from _check_rights(config, _CHROOT.search(text), pid[1])
    dropped = _DROPPED.search(said)
    if dropped is None:
        return
    if int(dropped[1]):
        finding = f"{dropped[1]} lines could not be written since it started"
        yield warning("haproxy log", finding, "Is its disk full, or who reads it too slow?")
    else:
        yield good("haproxy log", "no line was lost since it started")


def _check_rights(config: Config, chroot: re.Match[str] | None, pid: str) -> Iterator[Check]:
    """Whether HAProxy itself may open the judges' sockets: who runs this check may be root."""
    root = Path("/" if chroot is None else chroot[1])
    for server in config.judge.servers:
        path = Place.parse(server).path
        if path is None or (barred := _barred(pid, root, Path(path))) is None:
            continue
        finding = f"HAProxy may not open it: {barred} does not let its user or group in"
        advice = "Run the judge with Group=haproxy, as its unit does, or have HAProxy in its group."
        yield failed(f"judge {server} rights", finding, advice)


def _barred(pid: str, root: Path, path: Path) -> Path | None:
    """What bars this process: the socket, or a folder above it and below `root` (Linux)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        ids = {name: list(map(int, found.split())) for name, found in _IDS.findall(status)}
        user, groups = ids["Uid"][1], {ids["Gid"][1], *ids["Groups"]}
        folders = [folder for folder in path.parents if folder.is_relative_to(root)]
        for entry, wanted in (*((folder, 0o1) for folder in reversed(folders)), (path, 0o2)):
            found = entry.stat()
            of_user, of_group = user == found.st_uid, found.st_gid in groups
            shift = 6 if of_user else 3 if of_group else 0
            if user != 0 and not found.st_mode >> shift & wanted:
                return entry
    except (
        OSError,
        KeyError,
        ValueError,
    ):  # not there, or not this system: the question itself says
        pass
    return None


def _asked(path: str, command: str, timeout_s: float) -> str:
    """The answer of HAProxy's admin socket; empty if there is none."""
    said = b""
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(timeout_s)
            asking.connect(path)
            asking.sendall(command.encode() + b"\n")
            while more := asking.recv(65536):
                said += more
    except OSError:
        return ""
    return said.decode("utf-8", "replace")


def _since(path: Path, time_s: float) -> bool:
    try:
        return path.stat().st_mtime > time_s
    except OSError:
        return False


def _check_judge(server: str, timeout_s: float) -> Check:
    """Ask about a path that belongs to nobody: it is answered and not journalled."""
    place, subject = Place.parse(server), f"judge {server}"
    advice = "Start eas-redirect judge; until then Exchange's own answers pass."
    try:
        with _judge_at(place, timeout_s) as asking:
            asking.sendall(written_question(Question({"target": b"/"})))
            said = asking.recv(len(_NOTHING_TO_DO), socket.MSG_WAITALL)
    except TimeoutError:
        finding = f"it takes the question and says nothing for {timeout_s:g} s"
        return unreachable(subject, finding, "It hangs: restart eas-redirect judge.")
    except (ConnectionResetError, BrokenPipeError):
        said = b""
    except OSError as error:
        return unreachable(subject, f"nobody answers: {error.strerror or error}", advice)
    if said != _NOTHING_TO_DO:
        finding = "what answers there is no judge, or one of another version"
        return failed(subject, finding, "Install one version for the judge and for the files.")
    return good(subject, "answers")


def _judge_at(place: Place, timeout_s: float) -> socket.socket:
    if place.path is None:
        return socket.create_connection((place.host or "", place.port or 0), timeout_s)
    asking = socket.socket(socket.AF_UNIX)
    asking.settimeout(timeout_s)
    try:
        asking.connect(place.path)
    except OSError:
        asking.close()
        raise
    return asking
