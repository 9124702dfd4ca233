"""Stand-ins for what identifies or tells something: as long as the original, the same each time.

Keyed with a key that is thrown away, so that nobody can try names. Other text is filled: letters
become `x`, digits `0`. What was taken out is remembered, so that what was written can be searched
for it: as hashes of runs of words, three in a row, since a capture of gigabytes has more text than
memory holds. Imports the protocol only.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import uuid
from itertools import groupby
from operator import itemgetter

from eas_redirect.policy.exchange_online import is_public_host
from eas_redirect.redaction.filling import WORD, filled, without_signs
from eas_redirect.redaction.forms import device_words, is_device_text
from eas_redirect.redaction.taken import Taken

_LETTERS = "bcdfghjklmnpqrstvwxz"  # no vowel: a stand-in is never somebody's name
_SHORT = 8  # bytes; among a million longer words, hardly two get the same
_TRIES = 400
MAX_SHORT = 200_000  # words that are remembered, about 40 MB
_TEST_NETWORK = int(ipaddress.IPv4Address("198.18.0.0"))  # RFC 2544: 198.18.0.0/15
_TEST_NETWORK_6 = int(ipaddress.IPv6Address("2001:db8::"))  # RFC 3849


class Pseudonyms:
    """One capture's stand-ins. `taken` knows what they stand for, for the search afterwards."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)
        self.taken = Taken()
        self._short: dict[str, str] = {}  # words that could meet by chance, and their stand-ins
        self._given: set[str] = set()

    def name(self, text: str) -> str:
        """A user, an address, a device id: word by word, so that `anna` is the same in
        `CONTOSO\\anna` and `anna@contoso.example`; the signs between the words stay."""
        self.taken.take(text)
        for word in WORD.findall(text):
            self.taken.take(word)
        return WORD.sub(lambda word: self._word(word[0]), without_signs(text))

    def label(self, text: str) -> str:
        """The name of a header or a cookie; a single letter in it tells nothing."""
        self.name(text)
        return WORD.sub(
            lambda word: word[0] if len(word[0]) == 1 else self._word(word[0]), without_signs(text)
        )

    def device(self, text: str) -> str:
        """What a device says it is: makers, models and versions stay, other words get stand-ins."""
        if is_device_text(text):
            return text
        told = list(device_words(text))
        for kept, words in groupby(told, itemgetter(1)):
            if not kept:
                self.taken.take(" ".join(word for word, _ in words))
        each = iter(told)
        clean = WORD.sub(lambda word: word[0] if next(each)[1] else self._word(word[0]), text)
        return without_signs(clean)

    def binary(self, value: bytes) -> bytes:
        """For ids that are no text: other bytes, the first of which is no text either."""
        self.taken.take(value.hex())
        digest = self._digest(value.hex())
        stretched = digest * (len(value) // len(digest) + 1)
        return b"\xff" + stretched[: len(value) - 1] if value else value

    def host(self, host: str) -> str:
        """A host name, with or without a port; an IP address; a public one stays as it is."""
        bare = host.rpartition(":")[0] if re.search(r"[^:]:[0-9]+\Z", host) else host
        if bare.lower() == "localhost" or is_public_host(bare):
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
        self.taken.take(address)
        digest = int.from_bytes(self._digest(address)[:8])
        if parsed.version == 4:
            return str(ipaddress.IPv4Address(_TEST_NETWORK + digest % (1 << 17)))
        return str(ipaddress.IPv6Address(_TEST_NETWORK_6 + digest))

    def secret(self, text: str) -> str:
        """A password, a cookie, a token: nothing of it stays but its length."""
        self.taken.take(text)
        return filled(text)

    def identifier(self, text: str) -> str:
        """For ids of flows and connections, which a HAR may have filled with anything."""
        return str(uuid.UUID(bytes=self._digest(text)[:16]))

    def prose(self, text: str) -> str:
        """Text of messages: its shape stays, its words go."""
        self.taken.take_prose(text)
        return filled(text)

    def _word(self, word: str) -> str:
        """As many bytes as the word has in UTF-8. Two short words never get the same, as far as
        there are letters: `u1` and `u2` are two users."""
        length, folded = len(word.encode("utf-8")), word.casefold()
        text = self._short.get(folded) or self._letters(folded, length)
        if length <= _SHORT and folded not in self._short and len(self._short) < MAX_SHORT:
            for again in range(_TRIES):
                if text not in self._given:
                    break
                text = self._letters(f"{folded} {again}", length)
            self._short[folded] = text
            self._given.add(text)
        return text.upper() if word.isascii() and word.isupper() else text

    def _letters(self, text: str, length: int) -> str:
        digest = self._digest(text)
        while len(digest) < length:
            digest += hashlib.sha256(digest).digest()
        return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:length])

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
