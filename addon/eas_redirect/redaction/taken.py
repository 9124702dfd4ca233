"""What was taken out of a capture, so that what was written can be searched for it.

Texts are remembered as hashes of runs of words, three in a row: a capture of gigabytes has more
text than memory holds. Imports the protocol only.
"""

import itertools
from collections.abc import Iterator, Sequence

from eas_redirect.redaction.filling import WORD, filled
from eas_redirect.redaction.forms import VOCABULARY, is_device_word

MAX_RUNS = 40  # of one text: enough to know it again
MAX_PROSE = 1_000_000  # runs of messages in all, about 100 MB; of later ones fewer are remembered
FEW_RUNS = 2
_RUN = 3  # words in a row that tell a text from another
_TELLING = 6  # letters and digits; shorter runs occur by chance
_TELLING_DIGITS = 8  # of a number: policy keys have ten, telephones about as many


class Taken:
    """`take` what goes; then `holds` finds it wherever it should not be, also in what was kept."""

    def __init__(self, max_prose: int = MAX_PROSE) -> None:
        self._taken: set[int] = set()
        self._begins: set[int] = set()  # the first words of those runs
        self._few_from, self._prose_left = max_prose // 2, max_prose

    def take(self, text: str) -> None:
        """Of a name or a secret."""
        self._remember(runs(text), MAX_RUNS)

    def take_prose(self, text: str) -> None:
        """Of what somebody wrote: where there is very much of it, a sample."""
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
        """Whether something is in it that was taken."""
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
    """Three words in a row each, or all words of a shorter text, as far as they tell anything."""
    words = _folded_words(text)
    for start in range(max(1, len(words) - _RUN + 1)):
        run = " ".join(words[start : start + _RUN])
        enough = _TELLING_DIGITS if run.isdecimal() else _TELLING
        if len(run) >= enough and filled(run) != run and not _says_nothing(run):
            yield run


def _folded_words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _says_nothing(run: str) -> bool:
    """Of words that every capture may hold, models of phones, and several numbers, as times and
    dates have them."""
    words = run.split(" ")
    if len(words) == 1 and run.isdecimal():
        return False
    return all(word in VOCABULARY or word.isdecimal() or is_device_word(word) for word in words)
