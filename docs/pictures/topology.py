"""Draws topology.svg: who calls whom before, with a by-pass, and off again.

    python docs/pictures/topology.py > docs/pictures/topology.svg

Standard library only. A test keeps the picture as this script draws it.
"""

from collections.abc import Iterator
from html import escape

WIDTH = 870
INK, QUIET, PHONE, OURS, OLD, NEW = "#1a202c", "#4a5568", "#edf2f7", "#c6f6d5", "#feebc8", "#bee3f8"


def text(x: float, y: float, words: str, *, anchor: str = "middle", weight: str = "normal",
         size: int = 13, fill: str = INK) -> str:  # fmt: skip
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" font-size="{size}" '
        f'fill="{fill}">{escape(words)}</text>'
    )


def box(x: float, y: float, title: str, lines: tuple[str, ...], fill: str) -> Iterator[str]:
    """A machine, 170 wide: its name, then what is on it."""
    height = 34 + 17 * len(lines)
    yield (
        f'<rect x="{x}" y="{y}" width="170" height="{height}" rx="8" fill="{fill}" '
        f'stroke="{QUIET}"/>'
    )
    yield text(x + 85, y + 22, title, weight="bold")
    for number, line in enumerate(lines):
        yield text(x + 85, y + 40 + 17 * number, line, size=12, fill=QUIET)


def arrow(start: tuple[float, float], end: tuple[float, float], words: str, *, dashed: bool = False,
          above: float = 6) -> Iterator[str]:  # fmt: skip
    (x1, y1), (x2, y2) = start, end
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    yield (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{INK}" stroke-width="1.5"'
        f'{dash} marker-end="url(#head)"/>'
    )
    yield text((x1 + x2) / 2, (y1 + y2) / 2 - above, words, size=12)


def before(y: float) -> Iterator[str]:
    yield text(20, y + 24, "1. Before", anchor="start", weight="bold", size=15)
    yield from box(20, y + 70, "Phones", (), PHONE)
    yield from box(
        660, y + 50, "Old Exchange", ("mail.contoso.example", "certificate for phones"), OLD
    )
    yield from arrow((190, y + 87), (660, y + 87), "mail.contoso.example:443")


def with_bypass(y: float) -> Iterator[str]:
    yield text(
        20, y + 24, "2. With the proxy and a by-pass", anchor="start", weight="bold", size=15
    )
    yield from box(20, y + 70, "Phones", (), PHONE)
    yield from box(
        270, y + 50, "Load balancer", ("mail.contoso.example", "certificate for phones"), PHONE
    )
    yield from box(500, y + 120, "eas-redirect", ("asks the directory", "on 636"), OURS)
    yield from box(680, y + 50, "Old Exchange", ("ex07.contoso.local", "its own certificate"), OLD)
    yield from arrow((190, y + 87), (270, y + 87), "443")
    yield from arrow((440, y + 66), (680, y + 66), "all else, or proxy down: 443", dashed=True)
    yield from arrow((400, y + 118), (500, y + 150), "ActiveSync", above=-22)
    yield from arrow((670, y + 150), (740, y + 118), "443", above=-18)


def off(y: float) -> Iterator[str]:
    yield text(20, y + 24, "3. Off again", anchor="start", weight="bold", size=15)
    yield from box(20, y + 70, "Phones", ("know the new server",), PHONE)
    yield from box(
        660, y + 50, "New server", ("outlook.office365.com", "or your new Exchange"), NEW
    )
    yield from arrow((190, y + 95), (660, y + 95), "443, stored in the phone by the 451")


def picture() -> str:
    panels = ((before, 150), (with_bypass, 215), (off, 160))
    height = sum(tall for _, tall in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        'font-family="sans-serif" role="img" aria-label="Before, with a by-pass, and off again">',
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L10 5L0 10z" fill="{INK}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    y = 0
    for panel, tall in panels:
        parts += panel(y)
        y += tall
        if y < height:
            parts.append(f'<line x1="20" y1="{y}" x2="{WIDTH - 20}" y2="{y}" stroke="#e2e8f0"/>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    print(picture(), end="")
