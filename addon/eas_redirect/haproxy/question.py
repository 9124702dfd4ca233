"""What crosses the judge's socket: a question about one exchange, and its answer. Pure.

A question is a line `EAS1 LENGTH` and LENGTH bytes of netstrings (`5:hello,`), names and values in
turn. `files.py` has HAProxy remember these facts, and `answering.py` reads them. An answer is a
line `EAS1 LENGTH`, LENGTH of six digits, and LENGTH bytes: a word, a space, the reason, and for
`redirect` and `settings` a line feed and the content. There is one question per connection; a side
that does not know the first word closes it.

Names of the answer's headers begin with `<`, in lower case, in the order in which HAProxy gives
them. A question holds the Authorization header, so it goes only through a socket of this machine
and never into a log.
"""

from dataclasses import dataclass, field

VERSION = b"EAS1"
MAX_QUESTION = 256 * 1024  # bytes: two bodies of 64 KiB and two heads, with room to spare
MAX_HEAD = len(VERSION) + 1 + 6 + 1
_COMMA = ord(",")


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
    values = _values(payload)
    if len(values) % 2:
        raise QuestionError("a name has no value")
    facts: dict[str, bytes] = {}
    headers: list[tuple[str, bytes]] = []
    pairs = iter(values)
    for name, value in zip(pairs, pairs, strict=True):
        if name.startswith(b"<"):
            headers.append((name[1:].decode("latin-1"), value))
        elif name.isascii():
            facts[name.decode()] = value
        else:
            raise QuestionError("the name of a fact is none")
    if len(facts) + len(headers) != len(values) // 2:
        raise QuestionError("a fact stands twice")
    return Question(facts, tuple(headers))


def _values(payload: bytes) -> list[bytes]:
    """The netstrings, in their order. One loop without further calls, because it reads every
    question."""
    values: list[bytes] = []
    at, size, find = 0, len(payload), payload.find
    while at < size:
        colon = find(b":", at, at + 7)
        digits = payload[at:colon]
        if colon < 0 or not digits.isdigit():
            raise QuestionError("a length is no number")
        start = colon + 1
        at = start + int(digits)
        if at >= size or payload[at] != _COMMA:
            raise QuestionError("a value is cut short")
        values.append(payload[start:at])
        at += 1
    return values


def written_question(question: Question) -> bytes:
    """The inverse of `read_question`, with its first line: what `eas.lua` writes."""
    pairs = [(name.encode(), value) for name, value in question.facts.items()]
    pairs += [(b"<" + name.encode("latin-1"), value) for name, value in question.headers]
    payload = b"".join(b"%d:%b,%d:%b," % (len(n), n, len(v), v) for n, v in pairs)
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
