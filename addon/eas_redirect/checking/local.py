"""Checks of this machine: the files named in the settings, the journal, mitmproxy's own options."""

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from eas_redirect.checking.tried import Check, failed, good, in_two, warning
from eas_redirect.configuration.config import Config, DirectoryConfig, name_remarks
from eas_redirect.directory.ldap.credentials import password_text
from eas_redirect.judging.ended_waits import beside, is_stream, why_not_usable
from eas_redirect.proxy import profile
from eas_redirect.telemetry.web import parse_listen

ENOUGH_BYTES = 200 * 1024**2  # for a day of a busy journal
OLD_SNAPSHOT_S = 86400.0
_ON = frozenset({"rawtcp", "validate_inbound_headers"})  # of profile.HAZARDS, on by default
_OPTION = re.compile(r"^(?P<name>[a-z0-9_]+):\s*(?P<value>\S.*?)\s*(?:#.*)?$")


def check_files(config: Config) -> Iterator[Check]:
    """The configuration has already made sure that they exist; this checks what they are like."""
    for key, path in _secrets(config):
        yield _check_secret(key, path)
    yield from _check_bind(config.directory)
    yield from _check_pages(config)
    if (snapshot := config.directory.snapshot) is not None:
        yield _check_age(snapshot)
    for key, table in (("only", config.redirect.only), ("except", config.redirect.except_)):
        if table is not None and table.users_file is not None:
            yield good(f"redirect.{key}.users_file", f"{table.users_file} can be read")
    for key, remarks in name_remarks(config).items():
        yield from (warning(key, *in_two(remark)) for remark in remarks)
    yield _check_names(config)
    yield from _check_journal(config)
    yield from _check_ended_waits(config)


def _check_names(config: Config) -> Check:
    """A phone must not be sent to the name that it calls, so that name must be known."""
    subject, exchange = "exchange.host_names", config.exchange
    if exchange.host_names:
        return good(subject, ", ".join(exchange.host_names))
    finding = "empty: who calls by an address or a single label is not redirected (redirect_loop)"
    if exchange.trusted_proxies:
        advice = (
            "Name what phones call: a front may send another Host, as nginx and Apache do unless"
            " told otherwise."
        )
        return warning(subject, finding, advice)
    return good(subject, finding)


def _secrets(config: Config) -> Iterator[tuple[str, Path]]:
    if config.directory.password_file is not None:
        yield "directory.password_file", config.directory.password_file
    if config.journal.hash_key_file is not None:
        yield "journal.hash_key_file", config.journal.hash_key_file


def _check_secret(key: str, path: Path) -> Check:
    """A file owned by root may be readable by the service's own group."""
    seen = path.stat()
    mode = 0o640 if seen.st_uid == 0 else 0o600
    if os.name == "posix" and stat.S_IMODE(seen.st_mode) & ~mode & 0o077:
        return warning(key, f"others may read {path}", f"chmod {mode:o} {path}")
    group = " and its group" if os.name == "posix" and seen.st_mode & stat.S_IRGRP else ""
    return good(key, f"{path} can be read, by its owner{group} alone")


# Forms of a name in a simple bind that servers are known to accept: a DN (RFC 4514), and
# user@domain and DOMAIN\\user of Active Directory (MS-ADTS 5.1.1.1.1).
_BIND_NAMES = re.compile(r"[^@\\\s]+@[^@\\\s]+|[^@\\]+\\[^@\\]+|\s*[A-Za-z0-9.-]+\s*=.+", re.DOTALL)


def _check_bind(directory: DirectoryConfig) -> Iterator[Check]:
    """A name that looks right in the file but that the server refuses, and counts as a wrong
    logon."""
    if directory.bind != "simple":
        return
    if (user := directory.bind_user) is not None and not _BIND_NAMES.fullmatch(user):
        yield warning(
            "directory.bind_user",
            f"{user} is neither user@domain nor DOMAIN\\user nor a DN",
            "Write it in one of these forms; in TOML 'CORP\\svc' stands in single quotes.",
        )
    if directory.password_file is not None and (odd := _odd_password(directory.password_file)):
        advice = "Take them out, unless they belong to the password."
        yield warning("directory.password_file", odd, advice)


def _odd_password(path: Path) -> str | None:
    """Never reveals a character of it."""
    try:
        lines = password_text(path.read_bytes()).splitlines()
    except UnicodeDecodeError:
        return None  # the bind says so
    first, *rest = lines or [""]
    if first != first.strip():
        return f"blanks stand before or behind the password in {path}"
    if len(first) > 1 and first[0] == first[-1] and first[0] in "\"'`":
        return f"the password in {path} stands in quotes"
    if any(line.strip() for line in rest):
        return f"{path} has more lines than the first, which is the password"
    return None


def _check_pages(config: Config) -> Iterator[Check]:
    if (listen := config.metrics.listen) and (address := parse_listen(listen)).is_everywhere:
        yield warning(
            "metrics.listen",
            f"{listen} is open to every network of this machine",
            f"Write 127.0.0.1:{address.port}, or close it in the firewall.",
        )


def _check_age(snapshot: Path) -> Check:
    age_s = time.time() - snapshot.stat().st_mtime
    days = age_s / 86400
    if age_s > OLD_SNAPSHOT_S:
        advice = "Export it again; who moved since then is passed."
        return warning("directory.snapshot", f"{snapshot} is {days:.0f} days old", advice)
    return good("directory.snapshot", f"{snapshot} is younger than a day")


def _check_journal(config: Config) -> Iterator[Check]:
    if config.journal.path == "-":
        yield good("journal.path", "standard output")
        return
    path = Path(config.journal.path)
    problem = _why_not_writable(path)
    if problem is not None:
        yield failed("journal.path", problem, "Mind the owner and the mode of the directory.")
        return
    free = shutil.disk_usage(path.parent).free
    if free < ENOUGH_BYTES:
        finding = f"{path} can be written, and {free // 1024**2} MiB are free"
        yield warning("journal.path", finding, "Make room, or write it elsewhere.")
    else:
        yield good("journal.path", f"{path} can be written")


def _check_ended_waits(config: Config) -> Iterator[Check]:
    """The file that lists ended waits; without it no wait is ended."""
    if config.redirect.end_waits == "off":
        return
    subject, none = "redirect.end_waits", "no wait will be ended: "
    if is_stream(config.journal.path):
        finding = (
            f"{none}the journal goes to standard output, and the list of ended waits beside it"
        )
        yield warning(subject, finding, "Set journal.path to a file.")
        return
    problem = why_not_usable(beside(config.journal.path))
    if problem is not None:
        yield warning(subject, none + problem, "Mind its owner and mode, or move it away.")
    else:
        yield good(subject, f"{beside(config.journal.path)} keeps what was ended")


def _why_not_writable(path: Path) -> str | None:
    """Opens a file that exists, and leaves none behind if there was none."""
    if not path.parent.is_dir():
        return f"there is no directory {path.parent}"
    is_new = not path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}"
    if is_new:
        path.unlink(missing_ok=True)
    return None


def check_mitmproxy(directory: Path) -> Iterator[Check]:
    """Harmful options in mitmproxy's own config.yaml: the addon does not override them."""
    options = _options(directory)
    changed = {name for name, value in options.items() if not _is_off(name, value)}
    review = profile.review({**_defaults(), **options}, changed, said=options, reverse=True)
    for text in review.warnings:
        yield failed("mitmproxy options", text, f"Change it in {directory}.")
    yield from _check_fixes()
    wait = options.get("tcp_timeout", str(_defaults()["tcp_timeout"]))
    if not any("tcp_timeout" in text for text in review.warnings):
        longest = profile.LONGEST_WAIT_S
        yield good("tcp_timeout", f"{wait} s, enough for a wait of {longest - 60} s")


def _check_fixes() -> Iterator[Check]:
    """Whether the fixes fit the installed mitmproxy."""
    from eas_redirect.engine import replaced  # noqa: PLC0415 - with mitmproxy, which takes a while
    from eas_redirect.proxy import open_waits  # noqa: PLC0415

    if not open_waits.fits():
        finding = f"{version('mitmproxy')}: no wait can be ended in it (redirect.end_waits)"
        yield warning("mitmproxy", finding, replaced.ADVICE)

    unfit = replaced.unfit("full")
    if not unfit:
        yield good("mitmproxy", f"{version('mitmproxy')}: all parts of eas_engine fit")
    elif "fixes" in unfit:
        faults = "; ".join(replaced.WITHOUT_FIXES)
        text = f"{version('mitmproxy')}: its HTTP/1 cannot be fixed. {faults}."
        yield warning("mitmproxy", text, replaced.ADVICE)
    else:
        text = f"{version('mitmproxy')}: these parts do not fit, so it is slower: "
        yield warning("mitmproxy", text + ", ".join(unfit), replaced.ADVICE)


def _is_off(option: str, value: object) -> bool:
    """Whether a harmful option has mitmproxy's default: nearly all are off."""
    return value == (option in _ON) or value in ("", "[]", "null")


def _defaults() -> dict[str, object]:
    """As the addon sets them unless somebody else has."""
    return {setting.option: setting.value for setting in profile.settings()}


def _options(directory: Path) -> dict[str, object]:
    """The one-line options of config.yaml; values as text, true and false as booleans."""
    words: dict[str, object] = {"true": True, "false": False}
    found: dict[str, object] = {}
    for name in ("config.yaml", "config.yml"):
        path = directory / name
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if option := _OPTION.match(line):
                value = option["value"].strip("'\"")
                found[option["name"]] = words.get(value, value)
    return found
