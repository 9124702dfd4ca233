"""The code in docs/lab.md runs as it stands."""

import re

import pytest

from tests.support import ROOT


def test_the_library_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(
        r"^```python\n(.*?)^```$",
        (ROOT / "docs" / "lab.md").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    exec(example, {})  # noqa: S102 - our own page
    printed = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", printed[0])
    assert printed[1] == "[]"
