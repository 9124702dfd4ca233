"""The EAS view for mitmproxy, mitmweb and mitmdump: what was asked, what was decided, the body.

Registered under the name of mitmproxy's own WBXML view, which it replaces everywhere: that one
never returns on some short bodies and would freeze the proxy. This one handles any bytes, in linear
time.
"""

import contextlib
import difflib
import re
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from mitmproxy import contentviews, flow, http
from mitmproxy.contentviews import Contentview, InteractiveContentview, Metadata, SyntaxHighlight

from eas_redirect.activesync.multipart import MULTIPART, split_parts
from eas_redirect.activesync.request import is_eas_path
from eas_redirect.activesync.wbxml import WBXML_TYPES, WBXMLError, parse_partly, write
from eas_redirect.autodiscover.document import DocumentError, XMLElement, read_document
from eas_redirect.proxy import flows
from eas_redirect.view.summary import summary_lines
from eas_redirect.view.xml_text import XMLText, document_from_xml

MAX_BYTES = 16 * 1024 * 1024  # of a body that is looked at
MIN_NODES = 4000  # shown of any body, however small, and
BYTES_A_NODE = 15  # one more for so many bytes: what keeps 100 kB below 10 ms
MAX_PLAIN = 4096  # bytes of a part or a body that is not WBXML


class WBXMLContentview(InteractiveContentview):
    """WBXML as XML, and back again after editing."""

    syntax_highlight: SyntaxHighlight = "xml"

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        """Never raises. Comments above: the request, the answer, the decision."""
        comments = [f"<!-- {_comment(line)} -->" for line in _summary(metadata)]
        return "\n".join([*comments, *_body_lines(data, metadata)])

    def reencode(self, prettified: str, metadata: Metadata) -> bytes:
        """The bytes of an edited text. Unedited text gives exactly the original bytes."""
        original = _original(metadata)
        if original is not None:
            if self.prettify(original, metadata).strip() == prettified.strip():
                return original
            _refuse_what_was_not_whole(original, metadata)
        return write(document_from_xml(prettified))

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        """Above mitmproxy's views for EAS, below them for everything else."""
        if metadata.content_type in WBXML_TYPES | {MULTIPART} and (data or _is_eas(metadata)):
            return 2
        return 1.5 if _is_eas(metadata) and not data else -1


class AutodiscoverContentview(Contentview):
    """What a phone asks Autodiscover, and the answer: XML, line by line."""

    syntax_highlight: SyntaxHighlight = "xml"

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        """Never raises. Comments above, as with WBXML."""
        lines = [f"<!-- {_comment(line)} -->" for line in _summary(metadata)]
        if not data:
            return "\n".join(lines)
        message = metadata.http_message
        content_type = "" if message is None else message.headers.get("Content-Type", "")
        try:
            lines += _xml_lines(read_document(data, content_type))
        except DocumentError as error:
            lines += [f"<!-- {_comment(str(error))} -->", *_plain_lines(data)]
        return "\n".join(lines)

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        flow = metadata.flow
        asks = isinstance(flow, http.HTTPFlow) and flows.asks_autodiscover(flow)
        if not asks:
            return -1
        return 2 if data else 1.5


def register() -> None:
    """Replace mitmproxy's WBXML view, even where it is named explicitly."""
    contentviews.add(WBXMLContentview())
    contentviews.add(AutodiscoverContentview())


def _is_eas(metadata: Metadata) -> bool:
    flow = metadata.flow
    return isinstance(flow, http.HTTPFlow) and is_eas_path(flow.request.path)


def _summary(metadata: Metadata) -> list[str]:
    """Whatever a flow holds (it may be edited or old), the body is still shown."""
    flow, message = metadata.flow, metadata.http_message
    if not isinstance(flow, http.HTTPFlow) or not flows.is_exchange(flow):
        return []
    return summary_lines(flow, is_answer=isinstance(message, http.Response))


def _xml_lines(element: XMLElement, namespace: str = "", depth: int = 0) -> Iterator[str]:
    """A namespace is declared where it begins."""
    named = "" if element.namespace == namespace else f" xmlns={quoteattr(element.namespace)}"
    start, indent, text = f"<{element.name}{named}", "  " * depth, element.text.strip()
    if not element.children:
        ends = f">{escape(_printable(text))}</{element.name}>" if text else " />"
        yield _printable(f"{indent}{start}{ends}")
        return
    yield _printable(f"{indent}{start}>")
    if text:
        yield f"{indent}  {escape(_printable(text))}"
    for child in element.children:
        yield from _xml_lines(child, element.namespace, depth + 1)
    yield f"{indent}</{element.name}>"


def _body_lines(data: bytes, metadata: Metadata) -> list[str]:
    if not data:
        return []
    if len(data) > MAX_BYTES:
        return [f"<!-- {len(data)} bytes: too long to be shown -->"]
    if metadata.content_type != MULTIPART:
        return _wbxml_lines(data)
    try:
        parts = split_parts(data)
    except ValueError as error:
        return [f"<!-- no multipart answer: {error} -->", *_plain_lines(data)]
    lines = []
    for number, part in enumerate(parts):
        lines.append(f"<!-- part {number} of {len(parts)}: {len(part)} bytes -->")
        lines += _wbxml_lines(part) if number == 0 else _plain_lines(part)
    return lines


def _wbxml_lines(data: bytes) -> list[str]:
    document, problem = parse_partly(data, _max_nodes(data))
    if document is None:
        return [f"<!-- no WBXML: {_comment(str(problem))} -->", *_plain_lines(data)]
    text = XMLText(document)
    lines = text.lines()
    if problem is not None:
        lines.append(f"<!-- not whole: {_comment(str(problem))} -->")
    if text.cut:
        lines.append("<!-- long values are shown by their beginning -->")
    return lines


def _max_nodes(data: bytes) -> int:
    return max(MIN_NODES, len(data) // BYTES_A_NODE)


def _plain_lines(data: bytes) -> list[str]:
    """The beginning: text as text, anything else in hexadecimal."""
    shown = data[:MAX_PLAIN]
    with contextlib.suppress(UnicodeDecodeError):
        # A character cut in two at the end does not justify hexadecimal digits.
        text = shown.decode("utf-8", "strict" if shown == data else "ignore")
        if "\0" not in text:
            return [_printable(line) for line in text.splitlines()]
    lines = [shown[i : i + 16].hex(" ") for i in range(0, len(shown), 16)]
    return [*lines, f"({len(data)} bytes)"] if len(shown) < len(data) else lines


def _comment(text: str) -> str:
    """Text inside an XML comment must not end it."""
    return re.sub("-(?=-)", "- ", _printable(text))


def _printable(text: str) -> str:
    """Without terminal control characters; mitmproxy leaves those beyond ASCII."""
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)


def _original(metadata: Metadata) -> bytes | None:
    if metadata.original_data is not None:
        return metadata.original_data
    if metadata.http_message is None:
        return None
    with contextlib.suppress(ValueError):
        return metadata.http_message.content
    return metadata.http_message.raw_content


def _refuse_what_was_not_whole(original: bytes, metadata: Metadata) -> None:
    """A text that shows only part of the body must not replace it."""
    if metadata.content_type == MULTIPART:
        raise WBXMLError("multipart answers cannot be edited here; use the raw view")
    if not original:
        return
    document, problem = parse_partly(original, _max_nodes(original))
    if document is None or problem is not None:
        raise WBXMLError(f"this body is not shown whole ({problem}); use the raw view")
    text = XMLText(document)
    text.lines()
    if text.cut:
        raise WBXMLError("long values are shown by their beginning only; use the raw view")


# In what two messages differ, as the view shows them.

MAX_LINES = 4000  # of a message; comparing is quadratic at worst


def differences(one: flow.Flow, other: flow.Flow) -> Iterator[str]:
    """Requests first, then answers; nothing if both are the same."""
    for name in ("request", "response"):
        before, after = _lines(one, name), _lines(other, name)
        yield from difflib.unified_diff(
            before, after, f"{name} of the first", f"{name} of the second", lineterm=""
        )


def _lines(found: flow.Flow, name: str) -> list[str]:
    message = getattr(found, name, None)
    if not isinstance(found, http.HTTPFlow) or not isinstance(message, http.Message):
        return []
    try:
        body = message.content or b""
    except ValueError:  # damaged compression
        body = message.raw_content or b""
    kind = message.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    metadata = Metadata(flow=found, http_message=message, content_type=kind)
    return WBXMLContentview().prettify(body, metadata).splitlines()[:MAX_LINES]
