"""What no single key of eas-redirect.toml can tell: keys that need or exclude each other.

Works on the parsed document, so that these problems are told beside those of single keys; a value
of a wrong type is somebody else's problem. Used by `config.py` only.
"""

from collections.abc import Iterator
from typing import Any

from eas_redirect.configuration.problems import Place
from eas_redirect.policy.endpoint import DEFAULT_HOST_MAP, Refused, endpoint


def contradictions(document: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Each problem with the place of the key that is to be changed."""
    directory = _table(document, "directory")
    yield from _directory_contradictions(directory)
    journal = _table(document, "journal")
    if journal.get("users") == "hash" and "hash_key_file" not in journal:
        yield ("journal", "hash_key_file"), 'is required by users = "hash"'
    redirect = _table(document, "redirect")
    relationships = redirect.get("relationships")
    known = relationships if isinstance(relationships, list) else []
    numbered = [(n, entry) for n, entry in enumerate(known) if isinstance(entry, dict)]
    yield from _claimed_twice(numbered)
    yield from _unusable_targets(numbered, _table(redirect, "hosts"))


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name)
    return table if isinstance(table, dict) else {}


def _directory_contradictions(directory: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    servers = directory.get("servers")
    if "snapshot" in directory:
        if servers:
            yield ("directory", "snapshot"), "excludes servers: keep one of the two"
        return
    if not servers:
        yield (
            ("directory", "servers"),
            "names no server: list ldaps:// URLs here, or an LDIF file under snapshot",
        )
        return
    if not isinstance(servers, list):
        return
    encrypted = [str(server).startswith("ldaps:") for server in servers]
    if directory.get("start_tls") is True and any(encrypted):
        yield ("directory", "start_tls"), "is for ldap://; ldaps:// is encrypted from the start"
    if directory.get("bind", "simple") == "simple":
        yield from _simple_bind_contradictions(directory)


def _simple_bind_contradictions(directory: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    if "bind_user" not in directory:
        yield ("directory", "bind_user"), 'is required by bind = "simple": a DN or UPN'
    passwords = {"password_file", "password_env"} & directory.keys()
    if not passwords:
        yield (
            ("directory", "password_file"),
            'bind = "simple" requires it, or password_env in its place',
        )
    if len(passwords) == 2:
        yield ("directory", "password_env"), "excludes password_file: keep one of the two"


def _claimed_twice(relationships: list[tuple[int, dict[str, Any]]]) -> Iterator[tuple[Place, str]]:
    """An enabled relationship must be the only one for each of its domains."""
    claims: dict[str, int] = {}
    for index, relationship in relationships:
        names = relationship.get("domain_names")
        if relationship.get("enabled") is False or not isinstance(names, list):
            continue
        for name in {str(n).lower() for n in names}:
            if claims.setdefault(name, index) != index:
                place: Place = ("redirect", "relationships", index, "domain_names")
                yield place, f"{name} is named by relationships[{claims[name]}] too"


def _unusable_targets(
    relationships: list[tuple[int, dict[str, Any]]], hosts: dict[str, Any]
) -> Iterator[tuple[Place, str]]:
    """A TargetOwaURL is judged with the host map, as the decision does it."""
    host_map = {**DEFAULT_HOST_MAP, **{str(k).lower(): str(v) for k, v in hosts.items()}}
    for index, relationship in relationships:
        url = relationship.get("target_owa_url")
        target = endpoint(url, host_map) if isinstance(url, str) and url.strip() else None
        if isinstance(target, Refused):
            place: Place = ("redirect", "relationships", index, "target_owa_url")
            yield place, target.detail.removeprefix("The TargetOwaURL ").removesuffix(".")
