"""What goes into a search and what comes out of ldap3's answer; for `ldap_session.py` alone.

Imports no ldap3 but the escaping of values.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from ldap3.utils.conv import escape_filter_chars

from eas_redirect.directory.entries import Entry


def search_filter(object_class: str | None, equals: tuple[str, str] | None) -> str:
    """A search filter (RFC 4515); the only place where a value enters one."""
    parts = [f"(objectClass={object_class})"] if object_class else []
    if equals is not None:
        attribute, value = equals
        parts.append(f"({attribute}={escape_filter_chars(value)})")
    return parts[0] if len(parts) == 1 else f"(&{''.join(parts)})"


def is_entry(item: Mapping[str, object]) -> bool:
    """Not a continuation reference, which some servers send in spite of the control."""
    return item.get("type") == "searchResEntry"


def entry_of(item: Mapping[str, object]) -> Entry:
    raw = cast("Mapping[str, Sequence[bytes]]", item["raw_attributes"])
    attributes: dict[str, list[str]] = {}
    for name, values in raw.items():
        # What is no UTF-8 stays a value, though one that equals nothing: a homeMDB that cannot be
        # read is a mailbox all the same.
        texts = [value.decode("utf-8", "backslashreplace") for value in values]
        attributes.setdefault(name.partition(";")[0].lower(), []).extend(texts)
    return Entry(str(item["dn"]), attributes)
