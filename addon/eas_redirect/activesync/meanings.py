"""What statuses and other numbers mean, in few words. Data and look-ups; imports the protocol only.

Sources: MS-ASCMD 2.2.2 (statuses of all commands), 2.2.3.177 (those of one command), MS-ASHTTP
2.2.2.1.1 (HTTP statuses); values of elements: MS-ASCMD 2.2.3, MS-ASAIRS 2.2.2, MS-ASPROV 2.2.2,
MS-ASEMAIL 2.2.2, MS-ASCAL 2.2.2, MS-ASTASK 2.2.2, MS-ASRM 2.2.2, MS-ASDOC 2.2.2.
"""

from eas_redirect.activesync.code_pages import TAGS
from eas_redirect.activesync.response import ROOTS

_COMMON: dict[int, str] = {
    101: "InvalidContent",
    102: "InvalidWBXML",
    103: "InvalidXML",
    104: "InvalidDateTime",
    105: "InvalidCombinationOfIDs",
    106: "InvalidIDs",
    107: "InvalidMIME",
    108: "DeviceIdMissingOrInvalid",
    109: "DeviceTypeMissingOrInvalid",
    110: "ServerError",
    111: "ServerErrorRetryLater",
    112: "ActiveDirectoryAccessDenied",
    113: "MailboxQuotaExceeded",
    114: "MailboxServerOffline",
    115: "SendQuotaExceeded",
    116: "MessageRecipientUnresolved",
    117: "MessageReplyNotAllowed",
    118: "MessagePreviouslySent",
    119: "MessageHasNoRecipient",
    120: "MailSubmissionFailed",
    121: "MessageReplyFailed",
    122: "AttachmentIsTooLarge",
    123: "UserHasNoMailbox",
    124: "UserCannotBeAnonymous",
    125: "UserPrincipalCouldNotBeFound",
    126: "UserDisabledForSync",
    127: "UserOnNewMailboxCannotSync",
    128: "UserOnLegacyMailboxCannotSync",
    129: "DeviceIsBlockedForThisUser",
    130: "AccessDenied",
    131: "AccountDisabled",
    132: "SyncStateNotFound",
    133: "SyncStateLocked",
    134: "SyncStateCorrupt",
    135: "SyncStateAlreadyExists",
    136: "SyncStateVersionInvalid",
    137: "CommandNotSupported",
    138: "VersionNotSupported",
    139: "DeviceNotFullyProvisionable",
    140: "RemoteWipeRequested",
    141: "LegacyDeviceOnStrictPolicy",
    142: "DeviceNotProvisioned",
    143: "PolicyRefresh",
    144: "InvalidPolicyKey",
    145: "ExternallyManagedDevicesNotAllowed",
    146: "NoRecurrenceInCalendar",
    147: "UnexpectedItemClass",
    148: "RemoteServerHasNoSSL",
    149: "InvalidStoredRequest",
    150: "ItemNotFound",
    151: "TooManyFolders",
    152: "NoFoldersFound",
    153: "ItemsLostAfterMove",
    154: "FailureInMoveOperation",
    155: "MoveCommandDisallowedForNonPersistentMoveAction",
    156: "MoveCommandInvalidDestinationFolder",
    160: "AvailabilityTooManyRecipients",
    161: "AvailabilityDLLimitReached",
    162: "AvailabilityTransientFailure",
    163: "AvailabilityFailure",
    164: "BodyPartPreferenceTypeNotSupported",
    165: "DeviceInformationRequired",
    166: "InvalidAccountId",
    167: "AccountSendDisabled",
    168: "IRM_FeatureDisabled",
    169: "IRM_TransientError",
    170: "IRM_PermanentError",
    171: "IRM_InvalidTemplateID",
    172: "IRM_OperationNotPermitted",
    173: "NoPicture",
    174: "PictureTooLarge",
    175: "PictureLimitReached",
    176: "BodyPart_ConversationTooLarge",
    177: "MaximumDevicesReached",
}

# By the code page of the Status element.
_OF_PAGE: dict[int, dict[int, str]] = {
    0: {  # Sync
        1: "success",
        3: "invalid synchronization key",
        4: "protocol error",
        5: "server error",
        6: "error in conversion",
        7: "conflict",
        8: "object not found",
        9: "mailbox out of space",
        12: "folder hierarchy has changed",
        13: "incomplete Sync request",
        14: "invalid Wait or HeartbeatInterval",
        15: "too many collections",
        16: "retry",
    },
    5: {  # MoveItems
        1: "invalid source",
        2: "invalid destination",
        3: "success",
        4: "source and destination are the same",
        5: "could not be moved",
        7: "source or destination locked",
    },
    6: {1: "success", 2: "invalid collection", 3: "not synchronized yet", 4: "invalid key"},
    7: {  # FolderSync, FolderCreate, FolderDelete, FolderUpdate
        1: "success",
        2: "folder exists already",
        3: "special folder",
        4: "folder not found",
        5: "parent folder not found",
        6: "server error",
        9: "synchronization key mismatch",
        10: "malformed request",
        11: "unknown error",
        12: "unknown code",
    },
    8: {1: "success", 2: "invalid meeting request", 3: "mailbox error", 4: "server error"},
    10: {  # ResolveRecipients
        1: "success",
        2: "ambiguous",
        3: "ambiguous, partial list",
        4: "not found",
        5: "protocol error",
        6: "server error",
        7: "no certificates",
        8: "too many certificates",
    },
    2: {0: "no flag", 1: "done", 2: "flagged"},  # of a Flag
    11: {  # ValidateCert
        1: "success",
        2: "protocol error",
        3: "invalid signature",
        4: "untrusted",
        5: "the chain is wrong",
        6: "not for signing mail",
        7: "expired or not yet valid",
        13: "revoked",
        14: "the revocation server cannot be reached",
        15: "one of the chain is revoked",
        17: "unknown error",
    },
    13: {  # Ping
        1: "nothing changed in the time asked for",
        2: "changes in the folders named",
        3: "parameters missing",
        4: "syntax error",
        5: "heartbeat out of range",
        6: "too many folders",
        7: "FolderSync needed",
        8: "server error",
    },
    14: {  # Provision, and the Status of a Policy
        1: "success",
        2: "protocol error or no policy",
        3: "server error or unknown policy type",
        4: "the policy is damaged, or the device is managed elsewhere",
        5: "wrong policy key",
    },
    15: {  # Search
        1: "success",
        2: "invalid request",
        3: "server error",
        4: "bad link",
        5: "access denied",
        6: "not found",
        7: "connection failed",
        8: "too complex",
        10: "timed out",
        11: "FolderSync needed",
        12: "end of the range",
        13: "access blocked",
        14: "credentials needed",
    },
    18: {  # Settings
        1: "success",
        2: "protocol error",
        3: "access denied",
        4: "server unavailable",
        5: "invalid arguments",
        6: "conflicting arguments",
        7: "denied by policy",
    },
    20: {  # ItemOperations
        1: "success",
        2: "protocol error",
        3: "server error",
        4: "bad address",
        5: "access denied",
        6: "not found",
        7: "connection failed",
        8: "invalid range",
        9: "unknown store",
        10: "empty file",
        11: "too large",
        12: "read or write failed",
        14: "conversion failed",
        15: "invalid attachment",
        16: "access denied",
        17: "partial success",
        18: "credentials needed",
    },
    25: {1: "success"},
}

_HTTP: dict[int, str] = {
    200: "OK",
    400: "bad request",
    401: "logon needed or refused",
    403: "forbidden: no mailbox, no right, blocked device, or a rule of IIS",
    404: "not found",
    449: "the device must ask for its policy (Provision)",
    451: "redirect to X-MS-Location",
    456: "account blocked",
    457: "password expired",
    500: "server error",
    501: "command or version not implemented",
    502: "bad gateway",
    503: "server busy: come back later",
    505: "version not supported",
    507: "mailbox full",
}


_FOLDERS = (
    "user-created folder",
    "Inbox",
    "Drafts",
    "Deleted Items",
    "Sent Items",
    "Outbox",
    "Tasks",
    "Calendar",
    "Contacts",
    "Notes",
    "Journal",
    "user-created mail folder",
    "user-created Calendar",
    "user-created Contacts",
    "user-created Tasks",
    "user-created Journal",
    "user-created Notes",
    "unknown folder type",
    "recipient information cache",
)
_AGES = (
    "everything",
    "1 day back",
    "3 days back",
    "1 week back",
    "2 weeks back",
    "1 month back",
    "3 months back",
    "6 months back",
    "incomplete tasks",
)
_BODIES = {1: "plain text", 2: "HTML", 3: "RTF", 4: "MIME"}
_AVAILABILITY = {
    0: "free", 1: "tentative", 2: "busy", 3: "out of office", 4: "working elsewhere",
}  # fmt: skip
_SENSITIVITY = {0: "normal", 1: "personal", 2: "private", 3: "confidential"}
_RECURRENCES = {
    0: "daily", 1: "weekly", 2: "monthly, by date", 3: "monthly, by day of the week",
    5: "yearly, by date", 6: "yearly, by day of the week",
}  # fmt: skip
_YES = {0: "no", 1: "yes"}
_ALLOWED = {0: "not allowed", 1: "allowed"}
_BY = dict(enumerate(_AGES))

# By code page and element.
_VALUES: dict[tuple[int, str], dict[int, str]] = {
    (7, "Type"): dict(enumerate(_FOLDERS, 1)),
    (17, "Type"): _BODIES,
    (17, "NativeBodyType"): {1: "plain text", 2: "HTML", 3: "RTF"},
    (17, "Method"): {1: "normal attachment", 5: "embedded message", 6: "OLE object"},
    (17, "Truncated"): _YES,
    (17, "AllOrNone"): _YES,
    (17, "IsInline"): _YES,
    (0, "MIMESupport"): {0: "never MIME", 1: "MIME for S/MIME only", 2: "MIME for all"},
    (0, "FilterType"): _BY,
    (0, "Conflict"): {0: "the client wins", 1: "the server wins"},
    (0, "GetChanges"): _YES,
    (0, "ConversationMode"): {0: "single messages", 1: "whole conversations"},
    (0, "Truncation"): {
        **{n: f"cut after {size} characters" for n, size in
           enumerate((512, 1024, 2048, 5120, 10240, 20480, 51200, 102400), 1)},
        0: "all of the body cut", 9: "not cut",
    },
    (0, "DeletesAsMoves"): {0: "deleted for good", 1: "moved to Deleted Items"},
    (0, "MIMETruncation"): {
        **{n: f"cut after {size} characters" for n, size in
           enumerate((4096, 5120, 7168, 10240, 20480, 51200, 102400), 1)},
        0: "all of the body cut", 8: "not cut",
    },
    (2, "Importance"): {0: "low", 1: "normal", 2: "high"},
    (9, "Importance"): {0: "low", 1: "normal", 2: "high"},
    (2, "Read"): _YES,
    (2, "InstanceType"): {
        0: "single appointment", 1: "series", 2: "one of a series", 3: "exception of a series",
    },
    **{(page, "BusyStatus"): _AVAILABILITY for page in (2, 4)},
    **{(page, "Sensitivity"): _SENSITIVITY for page in (2, 4, 9)},
    **{(page, "Type"): _RECURRENCES for page in (2, 4, 9)},
    **{(page, "AllDayEvent"): _YES for page in (2, 4)},
    (9, "Complete"): _YES,
    (9, "ReminderSet"): _YES,
    (4, "MeetingStatus"): {
        0: "no meeting", 1: "own meeting", 3: "received", 5: "own, cancelled",
        7: "received, cancelled", 9: "own meeting", 11: "received", 13: "own, cancelled",
        15: "received, cancelled",
    },
    (4, "AttendeeType"): {1: "required", 2: "optional", 3: "resource"},
    (4, "ResponseType"): {
        0: "none", 1: "organizer", 2: "tentative", 3: "accepted", 4: "declined",
        5: "not responded",
    },
    (22, "LastVerbExecuted"): {0: "unknown", 1: "replied", 2: "replied to all", 3: "forwarded"},
    (22, "MeetingMessageType"): {
        0: "silent update", 1: "first request", 2: "full update", 3: "for information",
        4: "outdated", 5: "copy of a delegator", 6: "delegated",
    },
    (22, "ReceivedAsBcc"): _YES,
    (22, "IsDraft"): _YES,
    (4, "AttendeeStatus"): {
        0: "unknown", 2: "tentative", 3: "accepted", 4: "declined", 5: "not responded",
    },
    (8, "UserResponse"): {1: "accepted", 2: "tentative", 3: "declined"},
    (10, "Type"): {1: "from the global address list", 2: "from the contacts"},
    (10, "CertificateRetrieval"): {1: "none", 2: "full certificates", 3: "mini certificates"},
    (18, "OofState"): {0: "off", 1: "on", 2: "on for a time"},
    (18, "Enabled"): _YES,
    (18, "EnableOutboundSMS"): _YES,
    (18, "SendDisabled"): _YES,
    (11, "CheckCRL"): _YES,
    (19, "IsFolder"): _YES,
    (19, "IsHidden"): _YES,
    (24, "RightsManagementSupport"): _YES,
    (24, "Owner"): _YES,
    (14, "AllowBluetooth"): {0: "not allowed", 1: "hands-free only", 2: "allowed"},
    (14, "MaxCalendarAgeFilter"): _BY,
    (14, "MaxEmailAgeFilter"): _BY,
    (14, "RequireSignedSMIMEAlgorithm"): {0: "SHA-1", 1: "MD5"},
    (14, "RequireEncryptionSMIMEAlgorithm"): {
        0: "3DES", 1: "DES", 2: "RC2 128 bit", 3: "RC2 64 bit", 4: "RC2 40 bit",
    },
    (14, "AllowSMIMEEncryptionAlgorithmNegotiation"): {
        0: "no negotiation", 1: "strong algorithms", 2: "any algorithm",
    },
    (14, "DevicePasswordEnabled"): {0: "no password needed", 1: "password needed"},
    (14, "AlphanumericDevicePasswordRequired"): _YES,
    (14, "PasswordRecoveryEnabled"): _YES,
    (14, "AttachmentsEnabled"): _ALLOWED,
    (14, "DevicePasswordExpiration"): {0: "never"},
    (14, "MaxInactivityTimeDeviceLock"): {9999: "never"},
    (14, "MaxEmailBodyTruncationSize"): {0: "headers only"},
    (14, "MaxEmailHTMLBodyTruncationSize"): {0: "headers only"},
    (14, "DocumentBrowseEnabled"): _ALLOWED,
    (14, "RequireStorageCardEncryption"): _YES,
    (14, "RequireDeviceEncryption"): _YES,
    (14, "RequireManualSyncWhenRoaming"): _YES,
    (14, "RequireSignedSMIMEMessages"): _YES,
    (14, "RequireEncryptedSMIMEMessages"): _YES,
    **{(24, name): _ALLOWED for name in TAGS[24].values() if name.endswith("Allowed")},
    **{
        (14, name): _ALLOWED
        for name in TAGS[14].values()
        if name.startswith("Allow")
        and name not in ("AllowBluetooth", "AllowSMIMEEncryptionAlgorithmNegotiation")
    },
}  # fmt: skip
_SIZES = frozenset(
    {
        (17, "EstimatedDataSize"),
        (17, "TruncationSize"),
        (2, "MIMESize"),
        (14, "MaxAttachmentSize"),
        (2, "AttSize"),
        (2, "BodySize"),
        (19, "ContentLength"),
        (10, "MaxSize"),
    }
)
_SECONDS = frozenset(
    {(13, "HeartbeatInterval"), (0, "HeartbeatInterval"), (14, "MaxInactivityTimeDeviceLock")}
)
_UNCUT = frozenset({(14, "MaxEmailBodyTruncationSize"), (14, "MaxEmailHTMLBodyTruncationSize")})
_LONGEST_NUMBER = 10


def value_meaning(page: int, name: str, text: str) -> str | None:
    """What the number in an element says, or None when it says nothing but itself."""
    if text == "-1" and (page, name) in _UNCUT:
        return "not cut"
    if not (text.isdecimal() and text.isascii() and len(text) <= _LONGEST_NUMBER):
        return None
    number = int(text)
    if name == "Status":
        return status_meaning(page, number)
    key = page, name
    if known := _VALUES.get(key, {}).get(number):
        return known
    if key == (0, "Wait"):
        return f"{number} min"
    if key in _SIZES and number >= 1024:
        return _size(number)
    return f"{number / 60:g} min" if key in _SECONDS and number >= 60 else None


def _size(number: int) -> str:
    return f"{number / 1024:.1f} KiB" if number < 1 << 20 else f"{number / (1 << 20):.1f} MiB"


def status_meaning(page: int, status: int) -> str | None:
    """What a Status of this code page says, or None when it is not known."""
    return _COMMON.get(status) or _OF_PAGE.get(page, {}).get(status)


def global_meaning(command: str | None, status: int) -> str | None:
    """What the global Status of a command's answer says."""
    root = ROOTS.get(command or "")
    return status_meaning(root[0], status) if root else _COMMON.get(status)


def item_meaning(command: str, status: int) -> str:
    """A Status below the global one, with its number."""
    root = ROOTS.get(command)
    meaning = _COMMON.get(status) if root is None else status_meaning(root[0], status)
    return f"{status} {meaning or ''}".rstrip()


def http_meaning(status_code: int) -> str | None:
    """What an HTTP status says in this protocol, or None when it says nothing of its own."""
    return _HTTP.get(status_code)
