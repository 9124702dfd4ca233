"""What was taken out of a capture, so that what was written can be searched for it.

Texts are remembered as hashes of runs of words, three in a row: a capture of gigabytes has more
text than memory holds. Imports the protocol only.
"""

import itertools
from collections.abc import Iterator, Sequence

from eas_redirect.activesync.code_pages import TAGS
from eas_redirect.activesync.query import COMMAND_CODES
from eas_redirect.redaction.filling import WORD, filled

MAX_RUNS = 40  # of one text: enough to know it again
MAX_PROSE = 1_000_000  # runs of messages in all, about 100 MB; of later ones fewer are remembered
FEW_RUNS = 2
_RUN = 3  # words in a row that tell a text from another
_TELLING = 6  # letters and digits; shorter runs occur by chance
_TELLING_DIGITS = 8  # of a number: policy keys have ten, telephones about as many
_SEEN = 50_000  # texts that were kept before; headers say the same in every flow
# What every capture says: a user may be named as a command is.
VOCABULARY = frozenset(
    {name.casefold() for tags in TAGS.values() for name in tags.values()}
    | {name.casefold() for name in COMMAND_CODES.values()}
    | {"microsoft server activesync", "userhasnomailbox"}
)


class Taken:
    """`take` what goes, `keep` what stays on purpose; then `holds` finds what should have gone."""

    def __init__(self, max_prose: int = MAX_PROSE) -> None:
        self._taken: set[int] = set()
        self._begins: set[int] = set()  # the first words of those runs
        self._kept: set[int] = set()
        self._seen: set[str] = set()
        self._few_from, self._prose_left = max_prose // 2, max_prose

    def keep(self, text: str) -> None:
        if text in self._seen:
            return
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen.add(text)
        self._kept.update(map(hash, all_runs(text)))

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
        """Whether something is in it that was taken, and not kept elsewhere on purpose."""
        words = _words(text)
        hashes = list(map(hash, words))
        if self._begins.isdisjoint(hashes):
            return False
        begun = (at for at, known in enumerate(hashes) if known in self._begins)
        return any(self._has_run(words, at) for at in begun)

    def _has_run(self, words: Sequence[str], at: int) -> bool:
        for length in range(1, min(_RUN, len(words) - at) + 1):
            run = " ".join(words[at : at + length])
            known = hash(run)
            if known in self._taken and known not in self._kept and run not in VOCABULARY:
                return True
        return False


def runs(text: str) -> Iterator[str]:
    """Three words in a row each, or all words of a shorter text, as far as they tell anything."""
    words = _words(text)
    for start in range(max(1, len(words) - _RUN + 1)):
        run = " ".join(words[start : start + _RUN])
        enough = _TELLING_DIGITS if run.isdecimal() else _TELLING
        if len(run) >= enough and filled(run) != run and not _are_numbers(run):
            yield run


def all_runs(text: str) -> Iterator[str]:
    """Every one, two and three words in a row: what `runs` of any part of the text could be."""
    words = _words(text)
    for length in range(1, _RUN + 1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _are_numbers(run: str) -> bool:
    """Several numbers in a row, as times and dates have them."""
    return " " in run and run.replace(" ", "").isdecimal()
