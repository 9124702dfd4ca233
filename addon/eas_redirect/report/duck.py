"""What the readers ask DuckDB in the same words. Imports nothing."""

from pathlib import Path

# Any text file, a row a line, packed or not; no byte has a meaning but the line's end. Read as
# Latin-1, which knows every byte: lines that are no UTF-8 would be left out in silence.
READ_TEXT = """read_csv($path, header = false, columns = {'line': 'VARCHAR'}, delim = chr(1),
  quote = '', escape = '', auto_detect = false, strict_mode = false, ignore_errors = true,
  encoding = 'latin-1', compression = $compression)"""


def literal(path: Path) -> str:
    """DuckDB reads a path as a glob; a file that is named like one is meant as it stands."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))
