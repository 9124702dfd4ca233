"""The WBXML bodies that the lab's servers answer with. They hold no mail.

Sources: MS-ASCMD 2.2.1 (commands and their root elements), MS-ASWBXML 2.1.2.1 (code pages).
"""

from eas_redirect.activesync.wbxml import Document, Element, Node, element, write

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

EMPTY_MEANS_DONE = frozenset({"Sync", "SendMail", "SmartForward", "SmartReply"})
SUCCESS = "1"
DEFAULT_FOLDERS = (("2", "Inbox"), ("3", "Drafts"), ("4", "Deleted Items"), ("5", "Sent Items"))
"""FolderHierarchy Type (MS-ASCMD 2.2.3.186.2) and name."""


def status_answer(command: str, status: int) -> bytes:
    """The answer that holds a global Status and nothing else."""
    return write(Document(_root(command, _text(ROOTS[command], "Status", str(status)))))


def ordinary_answer(command: str) -> bytes | None:
    """What a user with an empty mailbox gets; None for a command that is not implemented."""
    if command in EMPTY_MEANS_DONE:
        return b""
    match command:
        case "FolderSync":
            return write(Document(_folders()))
        case "Provision":
            return write(Document(_policy()))
        case "Ping":
            return status_answer(command, 1)  # The heartbeat expired without changes.
        case _ if command in ROOTS:
            return status_answer(command, 1)
        case _:
            return None


def _folders() -> Element:
    added = [
        element(
            FOLDERS,
            "Add",
            _text(FOLDERS, "ServerId", str(number)),
            _text(FOLDERS, "ParentId", "0"),
            _text(FOLDERS, "DisplayName", name),
            _text(FOLDERS, "Type", kind),
        )
        for number, (kind, name) in enumerate(DEFAULT_FOLDERS, start=1)
    ]
    count = _text(FOLDERS, "Count", str(len(added)))
    return _root(
        "FolderSync",
        _text(FOLDERS, "Status", SUCCESS),
        _text(FOLDERS, "SyncKey", "1"),
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
