"""What may stay in a shared capture: decided by its form, never by its place.

A value stays when it is a number, a date, or made of words that the protocol, mitmproxy and makers
of phones use. Everything else goes, even in a header that is known to be harmless.
Standard library and protocol only.
"""

import re
import string
from collections.abc import Callable, Iterator, Mapping

from eas_redirect.activesync.code_pages import TAGS
from eas_redirect.activesync.request import COMMAND_CODES
from eas_redirect.policy.exchange_online import host_map
from eas_redirect.policy.reasons import REASONS
from eas_redirect.telemetry.clients import words as client_words

# Text without what it says: letters become `x`, digits `0`, its shape and its size stay.

WORD = re.compile(r"[^\W_]+")  # letters and digits of any script
# Vowels of some scripts are no letters to `re`, emoji tell much, and bytes that are not UTF-8 come
# as surrogates (PEP 383). What cannot be seen tells nothing, and makes a request a malformed one.
_SIGNS = re.compile(r"[^\x00-\x7f\w]+")
_ASCII = str.maketrans(dict.fromkeys(string.ascii_letters, "x") | dict.fromkeys(string.digits, "0"))


def filled(text: str) -> str:
    """`x` for letters, `0` for digits, as many bytes as before; signs and spaces stay."""
    if text.isascii():
        return text.translate(_ASCII)
    return WORD.sub(lambda word: _filled_word(word[0]), without_signs(text))


def filled_bytes(data: bytes) -> bytes:
    """The same for bytes: text keeps its shape, anything else becomes zeros."""
    try:
        return filled(data.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return bytes(len(data))


def without_signs(text: str) -> str:
    """Replace each byte of visible signs beyond ASCII with `_`."""
    return text if text.isascii() else _SIGNS.sub(lambda found: _without(found[0]), text)


def _without(signs: str) -> str:
    return "".join(
        "_" if "\udc80" <= sign <= "\udcff" else "_" * _size(sign) if sign.isprintable() else sign
        for sign in signs
    )


def _filled_word(word: str) -> str:
    return "".join("0" if c in "0123456789" else "x" * _size(c) for c in word)


def _size(text: str) -> int:
    return len(text.encode("utf-8"))


type Form = Callable[[str], bool]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMMANDS = frozenset(name.casefold() for name in COMMAND_CODES.values()) | _words(
    "gethierarchy createcollection deletecollection movecollection notify find"
)
METHODS = _words("OPTIONS POST GET HEAD PUT DELETE PATCH TRACE CONNECT PROPFIND")
# Makers, systems and apps as they call themselves in User-Agent, DeviceType and Settings.
DEVICES = (
    _words("""
    acer amazon android apple asus blackberry chrome client eas easclient edge exchange
    fire fujitsu galaxy gmail google honor htc huawei intel ios ipad iphone ipod iphoneos ipados
    kindle lenovo lg linux mac macos mail microsoft mobile moto motorola mozilla ms msft nec
    nexus nine nokia oneplus oppo outlook palm panasonic pantech phone pixel pocketpc pro plus
    mini max ultra note realme redmi remoba samsung sec semc sharp smartphone sony sonyericsson
    syncml symbian roadsync ksandroid tab tablet thunderbird tbsync toshiba touchdown vivo vortex
    windows windowsmail windowsphone wm windowsoutlook workspace xiaomi xperia zte email boxer
    testactivesyncconnectivity air watch touch darwin safari applewebkit webkit gecko khtml like
    version build release outlookservice win airwatch mobileiron traveler universaloutlook
    exchangeactivesync activesync se xr xs
""")
    | client_words()
)
# Of HTTP, TLS and the answers of servers.
TECHNICAL = _words("""
    accept access alive allow alt application ashttp asp aspnet attachment authenticate
    authorization bad basic bearer br busy bytes cache case certificate charset chunked close
    compress connection content control cookie cors date deflate diagnostics digest disposition
    doc domain drm encoding error etag excel exchange expect expires false feed for forbidden
    form found forwarded frame gateway gone gzip host html http httpapi https identity if iis
    image ime internal invalid javascript jpeg json keep language length link location match
    matter max media message method microsoft mime mixed modified multipart must name negotiate
    net nginx no none nosniff not ntlm octet of ok options origin partial pdf php plain png
    policy powered pragma private processing proxy proxied public range rate realm redirect
    referer refresh related request require required reset retry revalidate rfc822 sameorigin
    script secure security server service set signed status store stream strict sync te text
    timeout too tls token trace trailer transfer transport true type unauthorized unavailable
    unmodified unsupported upgrade uri url urlencoded user utf vary version vnd wap warning
    wbxml www x xhtml xml zip age agent after as apache haproxy mitmproxy varnish squid iso us
    ascii windows utf8 gb2312 big5 euc shift jis kr jp koi8 path httponly samesite lax t f q
""")
# Of the errors that mitmproxy and OpenSSL report.
ERRORS = _words("""
    a address alert already an and answer at authority backend because been before body broken
    by cannot caused certificate chain client close closed connect connecting connection could
    cut data deadline did disconnected does down eof errno error establish established exceeded
    expired failed failure for forbidden from get got h2 handshake has header headers host http
    in incomplete internal invalid is issuer it killed known layer length limit line local long
    lost malformed match name network no not number of on open out peer pipe port protocol proxy
    read received refused remote request reset resolve response route self sent server signature
    signed size socket ssl state stream temporarily time timed timeout tls to too trust unable
    unavailable unexpected unknown unreachable unsupported upstream use valid verification
    verify version was while with write wrong yet you abort aborted cancelled early finished
    call agree may need adjust option does speak alert routines tlsv1 tlsv11 tlsv12 tlsv13 sslv3
    shared cipher dh key ee small legacy renegotiation the s min openssl hostname mismatch without
    sending complete expected multiple exceptions parse incomplete chunked read
    idle waiting hung up or nor such service provided resolved ca net getaddrinfo nodename
    servname eai again noname err cert common date empty changed internet
""")
HEADER_NAMES = _words("""
    accept accept-charset accept-encoding accept-language accept-ranges
    access-control-allow-origin age allow alt-svc authorization cache-control connection
    content-disposition content-encoding content-language content-length content-location
    content-range content-type cookie date dnt etag expect expires forwarded from host if-match
    if-modified-since if-none-match keep-alive last-modified link location max-forwards
    ms-asacceptmultipart ms-asprotocolcommands ms-asprotocolversion ms-asprotocolversions
    ms-asthrottle ms-server-activesync origin persistent-auth pragma proxy-authenticate
    proxy-authorization proxy-connection public range referer retry-after server set-cookie
    strict-transport-security te trailer transfer-encoding upgrade user-agent vary via warning
    www-authenticate x-aspnet-version x-beserver x-calculatedbetarget x-calculatedfetarget
    x-client-request-id x-content-type-options x-diaginfo x-exceptiondiagnostics x-feserver
    x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-forwarded-server
    x-frame-options x-iis-version x-ms-asprotocolversions x-ms-asthrottle x-ms-backoffduration
    x-ms-credential-service-url x-ms-credentials-expire x-ms-diagnostics x-ms-location
    x-ms-policykey x-ms-rp x-ms-wl x-ms-noredirectcode x-original-host x-original-url
    x-owa-version x-powered-by x-real-ip x-requested-with x-rum-notupdatefrontendservers
    x-targetbeserver x-ms-mv x-ms-correlation-id request-id client-request-id ms-asdeviceid
""")
COOKIE_NAMES = _words("""
    cadata cadatattl cadatakey cadataiv cadatasig x-backendcookie exchangecookie clientid
    sessionid pbackendsession persistent
""")
MEDIA_TYPES = _words("""
    application/json application/octet-stream application/pdf application/vnd.ms-sync
    application/vnd.ms-sync.multipart application/vnd.ms-sync.wbxml application/vnd.wap.wbxml
    application/x-www-form-urlencoded application/xml image/gif image/jpeg image/png
    message/rfc822 multipart/mixed text/css text/html text/javascript text/plain text/xml
    application/javascript
""")
_CHARSET = re.compile(
    r"(utf-(8|16)|us-ascii|iso-8859-\d{1,2}|windows-125\d|gb2312|big5)\Z", re.IGNORECASE
)
# No number of a telephone: those begin with a zero, a plus, or are longer.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,8})\Z")
_PROTOCOL_VERSION = re.compile(r"[0-9]{1,2}\.[0-9]\Z")
# Of Exchange 2003 to today, and of a program; four small numbers would be an address.
_SERVER_VERSION = re.compile(r"(6|8|14|15)\.[0-9]{1,2}(\.[0-9]{1,6}){0,2}\Z")
_PROGRAM_VERSION = re.compile(r"(0|[1-9][0-9]{0,5})([._][0-9]{1,6}){0,4}\Z")
_ADDRESS = re.compile(r"([0-9]{1,3}\.){3}(?!0\Z)[0-9]{1,3}\Z|[0-9]{3}([.])[0-9]{3}\2[0-9]{4}\Z")
# Figures with what stands between them, and groups of hexadecimal digits: IPv6, MAC, UUID.
_FIGURES = re.compile(r"(?<![^\W_])[0-9]+(?:[ .\-_:+,]{1,3}[0-9]+)*(?![^\W_])")
_GROUPS = re.compile(r"(?<![^\W_])(?:[0-9A-Fa-f]{0,12}[:-]){3,}[0-9A-Fa-f]{0,12}(?![^\W_])")
# Behind the word that it belongs to: IIS/8.5, timeout=5, q=0.8.
_COUNTED = re.compile(
    r"(?<=[A-Za-z])/(?P<version>[0-9]{1,4}(\.[0-9]{1,6}){0,3})(?![\w.:-])"
    r"|(?<=[A-Za-z])=(0|[1-9][0-9]{0,8})(\.[0-9]{1,3})?(?![\w.:-])"
)
_VERSIONS = re.compile(r"\s*[0-9]{1,2}\.[0-9](\s*,\s*[0-9]{1,2}\.[0-9])*\s*\Z")
_DATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d[ -](Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[ -]"
    r"\d{4} \d\d:\d\d:\d\d GMT\Z"
)
_LANGUAGES = re.compile(
    r"\s*([a-z]{2}|\*)(-[A-Za-z]{2}|-Han[st]|-419)?(;\s*q=[01](\.\d{1,3})?)?"
    r"(\s*,\s*([a-z]{2}|\*)(-[A-Za-z]{2}|-Han[st]|-419)?(;\s*q=[01](\.\d{1,3})?)?)*\s*\Z"
)
# 12C1, G900F, SM, b4: what makers name models and builds by. No run of letters tells a name.
_MODEL = re.compile(
    r"(?:[A-Z]{0,3}|[a-z])[0-9]{1,6}([A-Z]{1,2}[0-9]{0,4})?[a-z]?\Z|[A-Z]{1,2}\Z|v\Z"
)
# Of a model only where they follow something of it: Max is somebody's name, too.
_LATER = _words("max mini pro plus ultra note air edge fire se xr xs")
_LETTERS_FIRST = re.compile(r"([A-Za-z]+)[0-9]")  # iPhone12C1, SAMSUNGSMG900F
_ID = re.compile(r"(RI|[0-9]{1,9})(:[0-9]{1,9}){0,3}\Z")
_RANGE = re.compile(r"(0|[1-9][0-9]{0,4})(-(0|[1-9][0-9]{0,4}))?\Z")


def is_number(text: str) -> bool:
    return _NUMBER.match(text.strip()) is not None


def _is_protocol_version(text: str) -> bool:
    return _PROTOCOL_VERSION.match(text.strip()) is not None


def _is_server_version(text: str) -> bool:
    return _SERVER_VERSION.match(text.strip()) is not None


def _is_program_version(text: str) -> bool:
    return bool(_PROGRAM_VERSION.match(text)) and not _ADDRESS.match(text)


def is_date(text: str) -> bool:
    return _DATE.match(text.strip()) is not None or text.strip() in ("0", "-1")


def is_id(text: str) -> bool:
    """Of a folder or an item, as Exchange numbers them; other servers use addresses as ids."""
    return _ID.match(text) is not None


def is_device_word(word: str) -> bool:
    """Part of the name of a model or an app: known, or shaped like a model."""
    if word.casefold() in DEVICES or _MODEL.match(word):
        return True
    letters = _LETTERS_FIRST.match(word)
    return letters is not None and any(
        letters[1][:size].casefold() in DEVICES and _MODEL.match(word[size:])
        for size in range(3, len(letters[1]) + 1)
    )


def device_words(text: str) -> Iterator[tuple[str, bool]]:
    """Each word of what a device calls itself, and whether it may stay: makers, models and
    versions may. Figures that are not a version are a telephone number, an address or a serial
    number."""
    kept_figures = {
        place
        for figures in _FIGURES.finditer(text)
        if _is_program_version(figures[0])
        for place in range(*figures.span())
    }
    groups = {place for found in _GROUPS.finditer(text) for place in range(*found.span())}
    kept = False
    for word in WORD.finditer(text):
        if word.start() in groups:
            kept = False
        elif word[0].isdecimal():
            kept = word.start() in kept_figures
        else:
            kept = is_device_word(word[0]) and (kept or word[0].casefold() not in _LATER)
        yield word[0], kept


def is_technical(text: str) -> bool:
    """Made of words of HTTP; a number may only follow the word that it belongs to."""
    words = WORD.findall(_COUNTED.sub(_uncounted, text))
    return all(word.casefold() in TECHNICAL for word in words)


def _uncounted(found: re.Match[str]) -> str:
    return found[0] if _ADDRESS.match(found["version"] or "") else ""


def is_error_word(word: str) -> bool:
    return word.casefold() in ERRORS or word.casefold() in TECHNICAL


def one_of(known: frozenset[str]) -> Form:
    """One of these words, in any case."""
    folded = frozenset(word.casefold() for word in known)
    return lambda text: text.strip().casefold() in folded


def all_of(known: frozenset[str]) -> Form:
    """A comma-separated list of these words."""
    form = one_of(known)
    return lambda text: all(form(part) for part in text.split(","))


def either(*forms: Form) -> Form:
    return lambda text: any(form(text) for form in forms)


def _versions(text: str) -> bool:
    return _VERSIONS.match(text) is not None


def _languages(text: str) -> bool:
    return _LANGUAGES.match(text) is not None


def is_media_type(text: str) -> bool:
    """One part of a Content-Type: a type, a character set."""
    name, equals, value = text.strip().casefold().partition("=")
    return name in MEDIA_TYPES if not equals else name == "charset" and bool(_CHARSET.match(value))


# By header name. What is not here is redacted; what is here and of another form, too.
HEADERS: Mapping[str, Form] = {
    "accept": lambda text: all(
        part.strip() == "*/*" or is_media_type(part) for part in text.split(",")
    ),
    "accept-encoding": is_technical,
    "accept-language": _languages,
    "allow": all_of(METHODS),
    "cache-control": is_technical,
    "connection": is_technical,
    "content-encoding": is_technical,
    "content-language": _languages,
    "content-length": is_number,
    "date": is_date,
    "expect": is_technical,
    "expires": is_date,
    "keep-alive": is_technical,
    "last-modified": is_date,
    "ms-asacceptmultipart": one_of(_words("T F")),
    "ms-asprotocolcommands": all_of(COMMANDS),
    "ms-asprotocolversion": _is_protocol_version,
    "ms-asprotocolversions": _versions,
    "ms-server-activesync": _is_server_version,
    "persistent-auth": one_of(_words("true false")),
    "pragma": one_of(_words("no-cache")),
    "proxy-connection": is_technical,
    "public": all_of(METHODS),
    "retry-after": either(is_number, is_date),
    "server": is_technical,
    "transfer-encoding": is_technical,
    "vary": all_of(HEADER_NAMES | {"*"}),
    "x-aspnet-version": _is_program_version,
    "x-content-type-options": is_technical,
    "x-forwarded-proto": one_of(_words("http https")),
    "x-frame-options": is_technical,
    "x-ms-asprotocolversions": _versions,
    "x-ms-asthrottle": one_of(
        _words("UnknownReason CommandFrequency SyncCommands RecentCommands CommandSpeed Throttled")
    ),
    "x-ms-backoffduration": one_of(_words("L/-469 L/-470 L/-471 L/-472")),
    "x-ms-rp": _versions,
    "x-powered-by": is_technical,
}

_CLASSES = one_of(_words("Email Calendar Contacts Tasks Notes SMS"))
_MESSAGE_CLASSES = _words("""
    ipm note schedule meeting request canceled resp pos neg tent contact appointment task stickynote
    post report ndr dr ipnnrn ipnrn infopathform smime multipartsigned rules oof template activity
    distlist recall microsoft voicemail um ca fax missed call sharing notification forward
""")
_POLICY = either(is_number, one_of(_words("MS-EAS-Provisioning-WBXML MS-WAP-Provisioning-XML")))
_STORES = one_of(frozenset({"Mailbox", "GAL", "Document Library", "DocumentLibrary"}))


def _is_message_class(text: str) -> bool:
    words = text.casefold().split(".")
    return all(word in _MESSAGE_CLASSES for word in words)


def _is_content_class(text: str) -> bool:
    return text.casefold() in (
        "urn:content-classes:message",
        "urn:content-classes:calendarmessage",
        "urn:content-classes:task",
        "urn:content-classes:appointment",
        "urn:content-classes:person",
    )


def is_device_text(text: str) -> bool:
    return all(kept for _, kept in device_words(text))


def _range(text: str) -> bool:
    return _RANGE.match(text) is not None


def _all(form: Form, names: str) -> dict[str, Form]:
    return dict.fromkeys(names.split(), form)


# By code page and element (MS-ASCMD, MS-ASAIRS, MS-ASPROV, MS-ASEMAIL).
ELEMENTS: Mapping[int, Mapping[str, Form]] = {
    0: {
        **_all(
            is_number, "Status WindowSize FilterType Truncation Conflict GetChanges DeletesAsMoves"
        ),
        **_all(is_number, "MIMESupport MIMETruncation Wait Limit ConversationMode MaxItems"),
        **_all(is_number, "HeartbeatInterval SyncKey"),
        **_all(is_id, "CollectionId ServerId"),
        "Version": _is_protocol_version,
        "Class": _CLASSES,
    },
    2: {
        **_all(is_number, "Read Importance InternetCPID Status MIMESize"),
        "MessageClass": _is_message_class,
        "ContentClass": _is_content_class,
    },
    5: {"Status": is_number, **_all(is_id, "SrcFldId DstFldId SrcMsgId DstMsgId")},
    6: {
        **_all(is_number, "Status Estimate"),
        "Version": _is_protocol_version,
        "Class": _CLASSES,
        "CollectionId": is_id,
    },
    7: {
        **_all(is_number, "Status Type SyncKey Count"),
        **_all(is_id, "ServerId ParentId"),
        "ContentClass": _is_content_class,
        "Version": _is_protocol_version,
    },
    8: {**_all(is_number, "Status UserResponse"), "CollectionId": is_id},
    10: _all(
        is_number,
        "Status Type RecipientCount CertificateCount MaxCertificates MaxAmbiguousRecipients"
        " CertificateRetrieval MaxSize MaxPictures",
    ),
    11: _all(is_number, "Status CheckCRL"),
    13: {**_all(is_number, "Status HeartbeatInterval MaxFolders"), "Id": is_id, "Class": _CLASSES},
    14: dict.fromkeys(
        frozenset(TAGS[14].values()) - {"PolicyKey", "Data", "Hash", "ApplicationName"}, _POLICY
    ),
    15: {
        **_all(is_number, "Status Total DeepTraversal MaxSize MaxPictures"),
        "Name": _STORES,
        "Range": _range,
    },
    16: {"Status": is_number},
    17: _all(
        is_number,
        "Type TruncationSize AllOrNone EstimatedDataSize Truncated Method IsInline NativeBodyType"
        " Status",
    ),
    18: {
        **_all(is_number, "Status OofState Enabled"),
        "BodyType": one_of(_words("HTML Text")),
        **_all(is_device_text, "Model OS UserAgent"),
        "OSLanguage": _languages,
    },
    20: {
        **_all(is_number, "Status Total Part DeleteSubFolders"),
        "Store": _STORES,
        "Range": _range,
        "Version": _is_protocol_version,
    },
    21: {"Status": is_number},
    25: {**_all(is_number, "Status Total DeepTraversal MaxSize MaxPictures"), "Range": _range},
}

# What every shared capture may say: a user may be named as a command is.
VOCABULARY = (
    frozenset(name.casefold() for tags in TAGS.values() for name in tags.values())
    | COMMANDS
    | DEVICES
    | TECHNICAL
    | ERRORS
    | _MESSAGE_CLASSES
    | frozenset(word for name in HEADER_NAMES | COOKIE_NAMES for word in name.split("-"))
    | frozenset(word for host in host_map() for word in host.split("."))
    | frozenset(word for reason in REASONS for word in reason.split("_"))
    | frozenset(method.casefold() for method in METHODS)
    | _words("""
        email calendar contacts tasks notes sms mailbox gal document library urn classes regular
        userhasnomailbox microsoft would be today pass moved decision certain weak record reason
        deviceid devicetype cmd saveinsent acceptmultipart sni alpn tls tcp udp office365 office
        outlook com us cn partner dod provisioning eas list autodiscover schemas mobilesync
        corp home internal intranet lan local private
        requestschema responseschema acceptableresponseschema emailaddress displayname culture
        action settings serverdata errorcode debugdata mailuser certenroll xmlns 2006
    """)
)
