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

from eas_redirect.policy.exchange_online import is_public_host
from eas_redirect.redaction.filling import WORD, filled, without_signs
from eas_redirect.redaction.forms import is_device_text, is_device_word
from eas_redirect.redaction.taken import Taken

_LETTERS = "bcdfghjklmnpqrstvwxz"  # no vowel: a stand-in is never somebody's name
_TEST_NETWORK = int(ipaddress.IPv4Address("198.18.0.0"))  # RFC 2544: 198.18.0.0/15
_TEST_NETWORK_6 = int(ipaddress.IPv6Address("2001:db8::"))  # RFC 3849


class Pseudonyms:
    """One capture's stand-ins. `taken` knows what they stand for, for the search afterwards."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)
        self.taken = Taken()

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
        self.taken.take(text)
        return WORD.sub(
            lambda word: word[0] if is_device_word(word[0]) else self._word(word[0]),
            without_signs(text),
        )

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
        """As many bytes as the word has in UTF-8; a digit first where it began with one."""
        length = len(word.encode("utf-8"))
        digest = self._digest(word.casefold())
        while len(digest) < length:
            digest += hashlib.sha256(digest).digest()
        text = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:length])
        return text.upper() if word.isascii() and word.isupper() else text

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
