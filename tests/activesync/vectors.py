"""The in-band answers of UserHasNoMailbox, one a command, from `tests/data/vectors.tsv`."""

from tests.support import DATA


def load() -> dict[str, bytes]:
    """Command → the bytes of the answer."""
    lines = (DATA / "vectors.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    return {command: bytes.fromhex(text) for command, text in rows}


VECTORS = load()
