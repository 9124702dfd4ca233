"""What crosses the judge's socket: a question about one exchange, and its answer. Pure.

A question is a line `EAS2 LENGTH` and LENGTH bytes: a line with the length of each text in bytes,
separated by spaces, and then the texts one after the other, names and values in turn. `files.py`
has HAProxy remember these facts, and `answering.py` reads them. An answer is a
line `EAS2 LENGTH`, LENGTH of six digits, and LENGTH bytes: a word, a space, the reason, and for
`redirect` and `settings` a line feed and the content. There is one question per connection; a side
that does not know the first word closes it.

Names of the answer's headers begin with `<`, in lower case, in the order in which HAProxy gives
them. A question holds the Authorization header, so it goes only through a socket of this machine
and never into a log.
"""

from dataclasses import dataclass, field
from itertools import accumulate, pairwise

VERSION = b"EAS2"
MAX_QUESTION = 256 * 1024  # bytes: two bodies of 64 KiB and two heads, with room to spare
MAX_HEAD = len(VERSION) + 1 + 6 + 1


class QuestionError(ValueError):
    """One plain sentence about an unreadable question. It holds nothing of its content."""


@dataclass(frozen=True, slots=True)
class Question:
    """The facts of one exchange by name; `headers` are the answer's."""

    facts: dict[str, bytes] = field(default_factory=dict)
    headers: tuple[tuple[str, bytes], ...] = ()

    def text(self, name: str) -> str | None:
        """A fact as text, bytes beyond UTF-8 as surrogates; None where it is absent or empty."""
        value = self.facts.get(name)
        return value.decode("utf-8", "surrogateescape") if value else None

    def number(self, name: str) -> int | None:
        value = self.facts.get(name, b"")
        return int(value) if value.isdigit() and len(value) < 20 else None


def question_length(head: bytes) -> int:
    """How many bytes follow the first line (`head`, with its line feed)."""
    word, _, length = head.rstrip(b"\n").partition(b" ")
    if word != VERSION:
        raise QuestionError("the question is of another version")
    if not (length.isdigit() and len(length) <= 6 and int(length) <= MAX_QUESTION):
        raise QuestionError("the question's length is none, or too long")
    return int(length)


def read_question(payload: bytes) -> Question:
    """The question in the bytes after the first line."""
    texts = _texts(payload)
    if len(texts) % 2:
        raise QuestionError("a name has no value")
    facts: dict[str, bytes] = {}
    headers: list[tuple[str, bytes]] = []
    for name, value in zip(texts[::2], texts[1::2], strict=True):
        if name.startswith(b"<"):
            headers.append((name[1:].decode("latin-1"), value))
        elif name.isascii():
            facts[name.decode()] = value
        else:
            raise QuestionError("the name of a fact is none")
    if len(facts) + len(headers) != len(texts) // 2:
        raise QuestionError("a fact stands twice")
    return Question(facts, tuple(headers))


def _texts(payload: bytes) -> list[bytes]:
    """In their order."""
    line, line_end, rest = payload.partition(b"\n")
    try:
        ends = list(accumulate(map(int, line.split()), initial=0))
    except ValueError:
        raise QuestionError("a length is no number") from None
    if not line_end or line.strip(b"0123456789 "):  # a sign, for example
        raise QuestionError("a length is no number")
    if ends[-1] != len(rest):
        raise QuestionError("the texts are shorter or longer than their lengths say")
    return [rest[start:end] for start, end in pairwise(ends)]


def written_question(question: Question) -> bytes:
    """The inverse of `read_question`, with its first line: what `eas.lua` writes."""
    pairs = [(name.encode(), value) for name, value in question.facts.items()]
    pairs += [(b"<" + name.encode("latin-1"), value) for name, value in question.headers]
    texts = [text for pair in pairs for text in pair]
    payload = b" ".join(b"%d" % len(text) for text in texts) + b"\n" + b"".join(texts)
    return b"%b %d\n%b" % (VERSION, len(payload), payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReply:
    """What HAProxy is to do: `word` is `pass`, `redirect` or `settings`.

    `given` is the location of a redirect, or the body of Autodiscover's settings.
    """

    word: str
    reason: str
    given: bytes = b""


def written_reply(reply: JudgeReply) -> bytes:
    payload = f"{reply.word} {reply.reason}".encode()
    if reply.given:
        payload += b"\n" + reply.given
    return b"%b %06d\n%b" % (VERSION, len(payload), payload)
