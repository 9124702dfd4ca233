"""Stand-ins for what identifies or tells something: as long as the original, the same each time.

Keyed with a key that is thrown away, so that nobody can try names. Standard library only.
"""

import hashlib
import hmac
import ipaddress
import itertools
import re
import secrets
import uuid
from collections.abc import Iterator

_WORD = re.compile(r"[^\W_]+")  # letters and digits of any script
# Vowels of some scripts are no letters to `re`, emoji tell much, and bytes that are no UTF-8 come
# as surrogates (PEP 383). What cannot be seen tells nothing, and makes a request a malformed one.
_SIGNS = re.compile(r"[^\x00-\x7f\w]+")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Names that everybody's capture holds and that tell where a device was sent.
PUBLIC_HOSTS = frozenset(
    {
        "outlook.com",
        "www.outlook.com",
        "outlook.office.com",
        "outlook.office365.com",
        "outlook.office365.us",
        "outlook-dod.office365.us",
        "partner.outlook.cn",
        "localhost",
    }
)
_TEST_NETWORK = int(ipaddress.IPv4Address("198.18.0.0"))  # RFC 2544: 198.18.0.0/15
_TEST_NETWORK_6 = int(ipaddress.IPv6Address("2001:db8::"))  # RFC 3849


MAX_WORDS = 40  # of one text that are searched for afterwards: enough to know it again
_RUN = 3  # words in a row that tell a text from another
_TELLING = 6  # letters and digits; shorter runs occur by chance
_TELLING_DIGITS = 8  # of a number: policy keys have ten, telephones about as many


def runs(text: str) -> Iterator[str]:
    """Three words in a row each, or all words of a shorter text, as far as they tell anything."""
    words = _WORD.findall(text.casefold())
    for start in range(max(1, len(words) - _RUN + 1)):
        run = " ".join(words[start : start + _RUN])
        enough = _TELLING_DIGITS if run.isdecimal() else _TELLING
        if len(run) >= enough and filled(run) != run and not _are_numbers(run):
            yield run


def _are_numbers(run: str) -> bool:
    """Several numbers in a row, as times and dates have them."""
    return " " in run and run.replace(" ", "").isdecimal()


def all_runs(text: str) -> Iterator[str]:
    """Every one, two and three words in a row: what `runs` of any part of the text could be."""
    words = _WORD.findall(text.casefold())
    for length in range(1, _RUN + 1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


class Pseudonyms:
    """One capture's stand-ins.

    `taken` collects what is taken out, as runs of words, and `kept` what stays on purpose: what was
    written is searched for the difference.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)
        self.taken: set[str] = set()
        self.kept: set[str] = set()

    def keep(self, text: str) -> str:
        """A text that stays as it is."""
        self.kept.update(all_runs(text))
        return text

    def name(self, text: str) -> str:
        """A user, an address, a device id: word by word, so that `anna` is the same in
        `CONTOSO\\anna` and `anna@contoso.example`; the signs between the words stay."""
        self._remember(text)
        return _WORD.sub(lambda word: self._word(word[0]), without_signs(text))

    def binary(self, value: bytes) -> bytes:
        """For ids that are no text: other bytes, the first of which is no text either."""
        self._remember(value.hex())
        digest = self._digest(value.hex())
        stretched = digest * (len(value) // len(digest) + 1)
        return b"\xff" + stretched[: len(value) - 1] if value else value

    def host(self, host: str) -> str:
        """A host name, with or without a port; an IP address; a public one stays as it is."""
        bare = host.rpartition(":")[0] if re.search(r"[^:]:[0-9]+\Z", host) else host
        if bare.lower() in PUBLIC_HOSTS:
            return host
        try:
            return host.replace(bare, self.address(bare.strip("[]")))
        except ValueError:
            return self.name(bare) + host[len(bare) :]

    def address(self, address: str) -> str:
        """An IP address of the networks that are for tests; loopback stays."""
        parsed = ipaddress.ip_address(address)
        if parsed.is_loopback or parsed.is_unspecified:
            return address
        self._remember(address)
        digest = int.from_bytes(self._digest(address)[:8])
        if parsed.version == 4:
            return str(ipaddress.IPv4Address(_TEST_NETWORK + digest % (1 << 17)))
        return str(ipaddress.IPv6Address(_TEST_NETWORK_6 + digest))

    def secret(self, text: str) -> str:
        """A password, a cookie, a token: nothing of it stays but its length."""
        self._remember(text)
        return filled(text)

    def identifier(self, text: str) -> str:
        """For ids of flows and connections, which a HAR may have filled with anything."""
        return str(uuid.UUID(bytes=self._digest(text)[:16]))

    def prose(self, text: str) -> str:
        """Text of messages: its shape stays, its words go."""
        self._remember(text)
        return filled(text)

    def _word(self, word: str) -> str:
        """As many bytes as the word has in UTF-8; a digit first where it began with one."""
        length = _size(word)
        digest = self._digest(word.casefold())
        while len(digest) < length:
            digest += hashlib.sha256(digest).digest()
        text = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:length])
        return text.upper() if word.isascii() and word.isupper() else text

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")

    def _remember(self, text: str) -> None:
        self.taken.update(itertools.islice(runs(text), MAX_WORDS))


def filled(text: str) -> str:
    """`x` for letters, `0` for digits, as many bytes as before; signs and spaces stay."""
    return _WORD.sub(lambda word: _filled_word(word[0]), without_signs(text))


def filled_bytes(data: bytes) -> bytes:
    """The same for bytes: text keeps its shape, anything else becomes zeros."""
    try:
        return filled(data.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return bytes(len(data))


def without_signs(text: str) -> str:
    """`_` for every byte of the signs beyond ASCII that can be seen."""
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
