"""In what two messages differ, as the view shows them."""

import difflib
from collections.abc import Iterator

from mitmproxy import flow, http
from mitmproxy.contentviews import Metadata

from eas_redirect.view.contentview import WBXMLContentview

MAX_LINES = 4000  # of a message; comparing is quadratic at worst


def differences(one: flow.Flow, other: flow.Flow) -> Iterator[str]:
    """Requests first, then answers; nothing where both say the same."""
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
