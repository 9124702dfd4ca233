"""What ldap3 and pyasn1 make of LDAP messages: the yardstick for a codec of our own."""

from typing import Any

import ldap3
from ldap3.operation.search import search_operation
from ldap3.protocol.convert import build_controls_list
from ldap3.protocol.rfc2696 import paged_search_control
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from ldap3.utils.conv import escape_filter_chars
from pyasn1.codec.ber import encoder

from eas_redirect.directory.ldap.wire import Search

_DOMAIN_SCOPE = ("1.2.840.113556.1.4.1339", False, None)


def _equal(name: str, value: str | bytes) -> str:
    return f"({name}={escape_filter_chars(value)})"


def ldap3_request(message_id: int, search: Search) -> bytes:
    """The same search as ldap3 writes it."""
    conditions = [_equal(*pair) for pair in search.equals]
    if search.any_of:
        conditions.append(f"(|{''.join(_equal(*pair) for pair in search.any_of)})")
    conditions += [f"({name}=*)" for name in search.present]
    conditions += [f"(!({name}=*))" for name in search.absent]
    text = "".join(conditions) or "(objectClass=*)"
    request = search_operation(
        search.base,
        f"(&{text})" if len(conditions) > 1 else text,
        {"base": ldap3.BASE, "subtree": ldap3.SUBTREE}[search.scope],
        ldap3.DEREF_NEVER,
        list(search.attributes),
        0,
        search.time_limit_s,
        False,
        False,
        False,
        check_names=False,
    )
    controls: list[Any] = [_DOMAIN_SCOPE]
    if search.page is not None:
        controls.append(paged_search_control(False, *search.page))
    message = LDAPMessage()
    message["messageID"] = MessageID(message_id)
    operation = ProtocolOp()
    message["protocolOp"] = operation.setComponentByName("searchRequest", request)
    message["controls"] = build_controls_list(controls)
    encoded: bytes = encoder.encode(message)
    return encoded
