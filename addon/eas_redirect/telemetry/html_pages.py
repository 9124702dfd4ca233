"""Pages for people: Jinja's templates in `data/`, autoescaped, one style for all of them.

A page loads nothing: it contains its style and script, and a Content-Security-Policy allows only
these two, by their digests. Whatever a stranger wrote is plain text on it: escaped, bounded, and
without characters that change the direction of the text around them.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from eas_redirect.policy.reasons import title
from eas_redirect.telemetry.printable import number, printable

MAX_SHOWN = 120  # characters of one value; longer ones are cut, so that no guest breaks a layout

_DATA = files("eas_redirect").joinpath("data")


@cache
def asset(name: str) -> str:
    """A style sheet, script or template."""
    return _DATA.joinpath(name).read_text(encoding="utf-8")


def security_policy(style: str, script: str, *, connects: bool = False) -> str:
    """For a page with this style and script, given by file name. `connects`: the script may call
    the page's own server."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            *(("connect-src 'self'",) if connects else ()),
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def render_page(template: str, values: Mapping[str, object]) -> str:
    """The whole page; `template` is the name of a file in `data/`."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,  # whatever a template forgets
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "text": shown,
        "number": number,
        "utc": _utc,
        "ago": lambda age_s: "never" if age_s is None else f"{span(age_s)} ago",
        "span": span,
        "host": lambda location: (location or "").removeprefix("https://").partition("/")[0],
        "title": title,
        "asset": asset,
    }
    return made


def _printable(value: object) -> object:
    markup = hasattr(value, "__html__")  # the templates' own
    return printable(value) if isinstance(value, str) and not markup else value


def shown(value: str | None, limit: int = MAX_SHOWN) -> str:
    """Cut, and free of characters that could reorder or hide the text around them."""
    if not value:
        return "–"
    return printable(value if len(value) <= limit else f"{value[: limit - 1]}…")


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _utc(timestamp_s: float, form: str) -> str:
    return datetime.fromtimestamp(timestamp_s, UTC).strftime(form)


@cache
def _digest(name: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(asset(name).encode()).digest()).decode()
