"""Bodies without what they say: structure, statuses and sizes stay. Imports the protocol only."""

from collections.abc import Mapping

from eas_redirect.activesync.code_pages import TAGS
from eas_redirect.activesync.wbxml import (
    Document,
    Element,
    Entity,
    Extension,
    Instruction,
    Node,
    TableText,
    WBXMLError,
    parse,
    write,
)
from eas_redirect.redaction.filling import filled_bytes
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.view.multipart import split_parts

# Elements whose text is about the protocol and not about people, by code page. What is not here
# is redacted: a new element must not leak.
_KEPT: Mapping[int, frozenset[str]] = {
    0: frozenset(
        [
            "Status",
            "SyncKey",
            "Class",
            "CollectionId",
            "WindowSize",
            "FilterType",
            "Truncation",
            "Conflict",
            "GetChanges",
            "DeletesAsMoves",
            "MIMESupport",
            "MIMETruncation",
            "Wait",
            "Limit",
            "ConversationMode",
            "MaxItems",
            "HeartbeatInterval",
            "Version",
        ]
    ),
    2: frozenset(
        ["Read", "Importance", "MessageClass", "InternetCPID", "ContentClass", "Status", "MIMESize"]
    ),
    5: frozenset(["Status", "SrcFldId", "DstFldId"]),
    6: frozenset(["Status", "Version", "Class", "CollectionId", "Estimate"]),
    7: frozenset(
        ["Status", "ServerId", "ParentId", "Type", "SyncKey", "Count", "ContentClass", "Version"]
    ),
    8: frozenset(["Status", "UserResponse", "CollectionId"]),
    10: frozenset(
        [
            "Status",
            "Type",
            "RecipientCount",
            "CertificateCount",
            "MaxCertificates",
            "MaxAmbiguousRecipients",
            "CertificateRetrieval",
            "MaxSize",
            "MaxPictures",
        ]
    ),
    11: frozenset({"Status", "CheckCRL"}),
    13: frozenset(["Status", "HeartbeatInterval", "Id", "Class", "MaxFolders"]),
    14: frozenset(TAGS[14].values()) - {"PolicyKey", "Data", "Hash", "ApplicationName"},
    15: frozenset(["Status", "Name", "Range", "Total", "DeepTraversal", "MaxSize", "MaxPictures"]),
    16: frozenset({"Status"}),
    17: frozenset(
        [
            "Type",
            "TruncationSize",
            "AllOrNone",
            "EstimatedDataSize",
            "Truncated",
            "Method",
            "IsInline",
            "NativeBodyType",
            "Status",
        ]
    ),
    18: frozenset(
        ["Status", "OofState", "Enabled", "BodyType", "Model", "OS", "OSLanguage", "UserAgent"]
    ),
    20: frozenset(
        ["Status", "Store", "Range", "Total", "Version", "Schema", "Part", "DeleteSubFolders"]
    ),
    21: frozenset({"Status"}),
    25: frozenset(["Status", "Range", "Total", "DeepTraversal", "MaxSize", "MaxPictures"]),
}
_MAX_KEPT = 128  # characters: nothing about the protocol is longer


def redacted_wbxml(data: bytes, names: Pseudonyms) -> bytes:
    """The same document with other words; what is no document is filled whole."""
    try:
        document = parse(data)
        clean = Document(
            _element(document.root, names),
            document.version,
            document.public_id if isinstance(document.public_id, int) else 1,
            document.charset,
        )
        return write(clean)
    except WBXMLError:
        return filled_bytes(data)


def redacted_multipart(data: bytes, names: Pseudonyms) -> bytes:
    """Part 0 is WBXML; the others are filled. Offsets and lengths stay as they are."""
    try:
        parts = split_parts(data)
    except ValueError:
        return filled_bytes(data)
    clean = [redacted_wbxml(parts[0], names), *(filled_bytes(part) for part in parts[1:])]
    at = 4 + 8 * len(clean)
    head = len(clean).to_bytes(4, "little")
    for part in clean:
        head += at.to_bytes(4, "little") + len(part).to_bytes(4, "little")
        at += len(part)
    return head + b"".join(clean)


def _element(element: Element, names: Pseudonyms) -> Element:
    """Literals, attributes and instructions, which ActiveSync does not use, go altogether."""
    kept = element.literal is None and element.name in _KEPT.get(element.page, frozenset())
    children = tuple(
        clean for child in element.children if (clean := _node(child, kept, names)) is not None
    )
    token = 0x3F if element.literal is not None else element.token
    return Element(element.page, token, children, hollow=element.hollow)


def _node(node: Node, kept: bool, names: Pseudonyms) -> Node | None:
    match node:
        case Element():
            return _element(node, names)
        case str():
            return _text(node, kept, names)
        case bytes():
            return _opaque(node, names)
        case TableText() | Entity():
            return _text(node.text, kept, names)
        case Extension() | Instruction():
            return None


def _text(text: str, kept: bool, names: Pseudonyms) -> str:
    """Addresses get stand-ins, so that it can be seen who writes to whom; other text is filled."""
    if kept and len(text) <= _MAX_KEPT:
        return names.keep(text)
    return names.name(text) if "@" in text else names.prose(text)


def _opaque(data: bytes, names: Pseudonyms) -> bytes:
    """Opaque statuses are text (MS-ASWBXML 2.1.1); whatever else is filled."""
    if data.isdigit() and len(data) <= 3:
        return data
    clean = filled_bytes(data)
    if clean != bytes(len(data)):
        names.prose(data.decode("utf-8", "replace"))
    return clean
