"""Stand-ins for whatever identifies somebody: as long as the original, and the same each time.

Their key is thrown away, so nobody can guess names. Other text is filled: letters become `x`,
digits `0`. What was taken out is remembered, to search the output for it: as hashes of three words
in a row, since a capture of gigabytes has more text than memory can hold. Imports the protocol
only.
"""

import hashlib
import hmac
import ipaddress
import itertools
import re
import secrets
import uuid
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from eas_redirect.activesync.host_name import INNER_DOMAINS
from eas_redirect.policy.exchange_online import is_public_host
from eas_redirect.redaction.forms import (
    VOCABULARY,
    WORD,
    device_words,
    filled,
    is_device_text,
    is_device_word,
    without_signs,
)

# What was taken out of a capture, so that what was written can be searched for it.
#
# Texts are remembered as hashes of runs of words, three in a row: a capture of gigabytes has more
# text than memory holds.

MAX_RUNS = 40  # of one text: enough to know it again
MAX_PROSE = 1_000_000  # runs of messages in all, about 100 MB; of later ones fewer are remembered
FEW_RUNS = 2
_RUN = 3  # words in a row that tell a text from another
_TELLING = 6  # letters and digits; shorter runs occur by chance
_TELLING_DIGITS = 8  # of a number: policy keys have ten, telephones about as many


class Taken:
    """`take` what is removed; then `holds` finds it wherever it should not be, even in what was
    kept."""

    def __init__(self, max_prose: int = MAX_PROSE) -> None:
        self._taken: set[int] = set()
        self._begins: set[int] = set()  # the first words of those runs
        self._few_from, self._prose_left = max_prose // 2, max_prose

    def take(self, text: str) -> None:
        """Remember a name or a secret."""
        self._remember(runs(text), MAX_RUNS)

    def take_prose(self, text: str) -> None:
        """Remember what somebody wrote; of very much text, a sample."""
        most = MAX_RUNS if self._prose_left > self._few_from else FEW_RUNS
        self._prose_left -= self._remember(runs(text), min(most, max(0, self._prose_left)))

    def _remember(self, found: Iterator[str], most: int) -> int:
        count = 0
        for run in itertools.islice(found, most):
            self._taken.add(hash(run))
            self._begins.add(hash(run.partition(" ")[0]))
            count += 1
        return count

    def holds(self, text: str) -> bool:
        """Whether it contains something that was taken out."""
        words = _folded_words(text)
        hashes = list(map(hash, words))
        if self._begins.isdisjoint(hashes):
            return False
        begun = (at for at, known in enumerate(hashes) if known in self._begins)
        return any(self._has_run(words, at) for at in begun)

    def _has_run(self, words: Sequence[str], at: int) -> bool:
        for length in range(1, min(_RUN, len(words) - at) + 1):
            run = " ".join(words[at : at + length])
            if hash(run) in self._taken:
                return True
        return False


def runs(text: str) -> Iterator[str]:
    """Each three words in a row, or all words of a shorter text, unless they say nothing."""
    words = [
        (folded, word) for word in WORD.findall(text) for folded in WORD.findall(word.casefold())
    ]
    for start in range(max(1, len(words) - _RUN + 1)):
        part = words[start : start + _RUN]
        run = " ".join(folded for folded, _ in part)
        enough = _TELLING_DIGITS if run.isdecimal() else _TELLING
        if len(run) >= enough and filled(run) != run and not _says_nothing(part):
            yield run


def _folded_words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _says_nothing(part: Sequence[tuple[str, str]]) -> bool:
    """True for words that every capture may hold, for phone models as they are written, and for
    several numbers, as in times and dates."""
    if len(part) == 1 and part[0][0].isdecimal():
        return False
    return all(
        folded in VOCABULARY or folded.isdecimal() or is_device_word(word) for folded, word in part
    )


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
        """A user, an address or a device id: word by word, so that `anna` is the same in
        `CONTOSO\anna` and `anna@contoso.example`; the signs between the words stay."""
        self.taken.take(text)
        for word in WORD.findall(text):
            self.taken.take(word)
        return WORD.sub(lambda word: self._word(word[0]), without_signs(text))

    def label(self, text: str) -> str:
        """The name of a header or a cookie; a single letter in it says nothing."""
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
        """For ids that are not text: other bytes, of which the first is not text either."""
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
            pass
        name, dot, last = bare.rpartition(".")
        if dot and last.lower() in INNER_DOMAINS:  # it tells that a name is not public
            return self.name(name) + host[len(name) :]
        return self.name(bare) + host[len(bare) :]

    def address(self, address: str) -> str:
        """An IP address from the networks reserved for tests; loopback stays."""
        parsed = ipaddress.ip_address(address)
        if parsed.is_loopback or parsed.is_unspecified:
            return address
        self.taken.take(address)
        digest = int.from_bytes(self._digest(address)[:8])
        if parsed.version == 4:
            return str(ipaddress.IPv4Address(_TEST_NETWORK + digest % (1 << 17)))
        return str(ipaddress.IPv6Address(_TEST_NETWORK_6 + digest))

    def secret(self, text: str) -> str:
        """A password, a cookie, a token: only its length stays."""
        self.taken.take(text)
        return filled(text)

    def identifier(self, text: str) -> str:
        """For ids of flows and connections, which a HAR file may fill with anything."""
        return str(uuid.UUID(bytes=self._digest(text)[:16]))

    def prose(self, text: str) -> str:
        """Message text: its shape stays, its words go."""
        self.taken.take_prose(text)
        return filled(text)

    def _word(self, word: str) -> str:
        """As many bytes as the word has in UTF-8. While there are letters left, two short words
        never get the same stand-in, since `u1` and `u2` are two users, and none gets itself."""
        length, folded = len(word.encode("utf-8")), word.casefold()
        text = self._short.get(folded) or self._letters(folded, length)
        if length <= _SHORT and folded not in self._short and len(self._short) < MAX_SHORT:
            for again in range(_TRIES):
                if text not in self._given and text != folded:
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
