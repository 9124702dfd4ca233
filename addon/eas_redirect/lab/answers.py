"""The WBXML bodies that the lab's servers answer with. They hold no mail.

Sources: MS-ASCMD 2.2.1 (commands and their root elements), MS-ASWBXML 2.1.2.1 (code pages).
"""

from collections.abc import Iterator, Sequence

from eas_redirect.activesync.wbxml import (
    Document,
    Element,
    Node,
    WBXMLError,
    element,
    parse,
    write,
)

AIR_SYNC, MOVE, ITEM_ESTIMATE, FOLDERS, MEETING = 0, 5, 6, 7, 8
RESOLVE, VALIDATE, PING, PROVISION, SEARCH = 10, 11, 13, 14, 15
SETTINGS, ITEM_OPERATIONS, COMPOSE = 18, 20, 21

ROOTS: dict[str, int] = {
    "Sync": AIR_SYNC,
    "SendMail": COMPOSE,
    "SmartForward": COMPOSE,
    "SmartReply": COMPOSE,
    "FolderSync": FOLDERS,
    "FolderCreate": FOLDERS,
    "FolderDelete": FOLDERS,
    "FolderUpdate": FOLDERS,
    "MoveItems": MOVE,
    "GetItemEstimate": ITEM_ESTIMATE,
    "MeetingResponse": MEETING,
    "Search": SEARCH,
    "Settings": SETTINGS,
    "Ping": PING,
    "ItemOperations": ITEM_OPERATIONS,
    "Provision": PROVISION,
    "ResolveRecipients": RESOLVE,
    "ValidateCert": VALIDATE,
}
"""The commands whose answers have an XML root, with the code page that the root is in."""

EMPTY_MEANS_DONE = frozenset({"SendMail", "SmartForward", "SmartReply"})
FIRST_KEY, NEXT_KEY = "0", "1"  # SyncKey (MS-ASCMD 2.2.3.181)
SUCCESS = "1"
DEFAULT_FOLDERS = (("2", "Inbox"), ("3", "Drafts"), ("4", "Deleted Items"), ("5", "Sent Items"))
"""FolderHierarchy Type (MS-ASCMD 2.2.3.186.2) and name."""


def status_answer(command: str, status: int) -> bytes:
    """The answer that holds a global Status and nothing else."""
    return write(Document(_root(command, _text(ROOTS[command], "Status", str(status)))))


def ordinary_answer(command: str, request: bytes = b"") -> bytes | None:
    """What a user with an empty mailbox gets; None for a command that is not implemented."""
    if command in EMPTY_MEANS_DONE:
        return b""
    match command:
        case "FolderSync":
            known = NEXT_KEY in texts(request, FOLDERS, "SyncKey")
            return write(Document(_folders(() if known else DEFAULT_FOLDERS)))
        case "Sync":
            return _sync(request)
        case "Provision":
            return write(Document(_policy()))
        case _ if command in ROOTS:
            return status_answer(command, 1)  # To a Ping: the heartbeat expired without changes.
        case _:
            return None


def heartbeat_s(request: bytes) -> float:
    """How long a Ping asks to wait (MS-ASCMD 2.2.3.79.1); 0 when it does not say."""
    interval = next(iter(texts(request, PING, "HeartbeatInterval")), "0")
    return float(interval) if interval.isdecimal() else 0.0


def texts(request: bytes, page: int, name: str) -> list[str]:
    """The texts of every element of this name in a request's body; none when it is malformed."""
    try:
        root = parse(request).root
    except WBXMLError:
        return []
    return [e.text for e in _walk(root) if (e.page, e.name) == (page, name)]


def _walk(element: Element) -> Iterator[Element]:
    yield element
    for child in element.elements:
        yield from _walk(child)


def _sync(request: bytes) -> bytes:
    """A folder's first Sync gets its key; later ones hear of no changes, which is an empty body."""
    keys = texts(request, AIR_SYNC, "SyncKey")
    folders = texts(request, AIR_SYNC, "CollectionId")
    first = [folder for folder, key in zip(folders, keys, strict=False) if key == FIRST_KEY]
    if not first:
        return b""
    collections = [
        element(
            AIR_SYNC,
            "Collection",
            _text(AIR_SYNC, "SyncKey", NEXT_KEY),
            _text(AIR_SYNC, "CollectionId", folder),
            _text(AIR_SYNC, "Status", SUCCESS),
        )
        for folder in first
    ]
    return write(Document(_root("Sync", element(AIR_SYNC, "Collections", *collections))))


def _folders(folders: Sequence[tuple[str, str]]) -> Element:
    added = [
        element(
            FOLDERS,
            "Add",
            _text(FOLDERS, "ServerId", str(number)),
            _text(FOLDERS, "ParentId", "0"),
            _text(FOLDERS, "DisplayName", name),
            _text(FOLDERS, "Type", kind),
        )
        for number, (kind, name) in enumerate(folders, start=1)
    ]
    count = _text(FOLDERS, "Count", str(len(added)))
    return _root(
        "FolderSync",
        _text(FOLDERS, "Status", SUCCESS),
        _text(FOLDERS, "SyncKey", NEXT_KEY),
        element(FOLDERS, "Changes", count, *added),
    )


def _policy() -> Element:
    """A policy that asks for nothing (MS-ASPROV 2.2.2)."""
    policy = element(
        PROVISION,
        "Policy",
        _text(PROVISION, "PolicyType", "MS-EAS-Provisioning-WBXML"),
        _text(PROVISION, "Status", SUCCESS),
        _text(PROVISION, "PolicyKey", "1307199584"),
        element(PROVISION, "Data", element(PROVISION, "EASProvisionDoc")),
    )
    status = _text(PROVISION, "Status", SUCCESS)
    return _root("Provision", status, element(PROVISION, "Policies", policy))


def _root(command: str, *children: Node) -> Element:
    return element(ROOTS[command], command, *children)


def _text(page: int, name: str, text: str) -> Element:
    return element(page, name, text)
