"""The reference is whole: a name that tools rely on and the page does not know is a failure."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from eas_redirect.cli.main import app
from eas_redirect.configuration.config import Config
from eas_redirect.policy.reasons import REASONS
from eas_redirect.proxy.options import OPTIONS
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.record import FIELD_NAMES
from tests.support import ROOT

REFERENCE = (ROOT / "docs" / "reference.md").read_text("utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("certs/*.md")])
COMMANDS = ("eas.explain", "eas.diff", "eas.lookup", "eas.cache.clear", "eas.reload")
CRITERIA = ("users", "users_file", "percent", "device_types", "networks")

# The command as a page calls it, with or without its folder.
CALL = re.compile(r"(?:\S*/)?eas-redirect")
SUBCOMMANDS = dict(getattr(typer.main.get_command(app), "commands", {}))


def section(title: str) -> str:
    found = re.search(
        rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL
    )
    assert found, f"no section {title!r}"
    return found[1]


def first_cells(title: str) -> set[str]:
    """The names in backquotes in the first column of a section's tables."""
    rows = re.findall(r"^\| (.+?) \|", section(title), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of the configuration, dotted; what a table of tables holds is described there."""
    for field_name, field in model.model_fields.items():
        key = prefix + (field.alias or field_name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and key.count(".") == 0:
            yield from keys(inner, key + ".")
        else:
            yield key


def test_every_option_is_documented() -> None:
    assert first_cells("mitmproxy options") == set(OPTIONS)


def test_every_key_of_the_configuration_is_documented_and_no_other() -> None:
    assert first_cells("eas-redirect.toml") == set(keys(Config))
    for criterion in CRITERIA:
        assert f"`{criterion}`" in section("eas-redirect.toml")


def test_every_reason_is_documented_in_the_words_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section("Reasons"), re.MULTILINE)
    assert rows == [(word, words.title, words.advice) for word, words in REASONS.items()]


def test_every_journal_field_is_documented() -> None:
    assert first_cells("Journal") == set(FIELD_NAMES)


def test_every_ledger_state_is_documented() -> None:
    assert first_cells("Ledger states") == {str(state) for state in LedgerState}


def test_every_command_of_mitmproxy_is_documented() -> None:
    documented = {name.split()[0] for name in first_cells("mitmproxy commands")}
    assert documented == set(COMMANDS)


def test_every_exit_code_is_documented() -> None:
    codes = re.findall(r"^\| (\d) \|", section("Exit codes"), re.MULTILINE)
    assert codes == ["0", "1", "2", "3"]


def links(page: Path) -> list[str]:
    """Where a page leads, but for what stands in code."""
    text = re.sub(r"(?ms)^```.*?^```$|`[^`\n]*`", "", page.read_text("utf-8"))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?m)^\[[^\]]+\]: (\S+)", text)


def anchors(page: Path) -> set[str]:
    """Of its headings, as a forge makes them: words in small letters with hyphens between."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text("utf-8"))
    titles = re.findall(r"(?m)^#+ (.+?)\s*$", text)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """To a file that is there, and a heading in it; to another site by a whole address over TLS."""
    for link in links(page):
        target, _, anchor = link.partition("#")
        if "://" in target:
            assert re.fullmatch(r"https://[a-z0-9-]+(\.[a-z0-9-]+)+(/\S*)?", target), link
            continue
        leads_to = page.parent / target if target else page
        assert leads_to.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(leads_to), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_of_ours_that_a_page_names_are_there(page: Path) -> None:
    sources = [*(ROOT / "addon").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    whole = {f"/{path.relative_to(ROOT)}" for path in sources}
    for name in re.findall(r"`([a-z0-9_/]+\.py)`", page.read_text("utf-8")):
        assert any(path.endswith(f"/{name}") for path in whole), f"{page.name} names {name}"


def test_the_picture_is_as_its_script_draws_it() -> None:
    folder = ROOT / "docs" / "pictures"
    drawn = subprocess.run(
        [sys.executable, folder / "topology.py"], check=True, capture_output=True, text=True
    )
    assert drawn.stdout == (folder / "topology.svg").read_text("utf-8")


def commands() -> Iterator[tuple[Path, str, list[str]]]:
    """Every `eas-redirect` command of every page, from blocks and from running text, with its
    page: the subcommand and the words behind it, what follows a bare -- left out."""
    for page in PAGES:
        text = page.read_text("utf-8")
        blocks = re.findall(r"(?ms)^ *```(?:sh.*?|text)?\n(.*?)^ *```", text)
        inline = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^ *```.*?^ *```$", "", text))
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        for line in (*lines, *inline):
            for part in re.split(r"&&|\|\||[|;)]", line):
                words = re.sub(r"(?<!\S)#.*|[()$\"']", " ", part).split()
                at = next((n for n, w in enumerate(words) if CALL.fullmatch(w)), None)
                if at is not None and at + 1 < len(words) and words[at + 1] in SUBCOMMANDS:
                    yield page, words[at + 1], " ".join(words[at + 2 :]).split(" -- ")[0].split()


def test_every_command_on_every_page_has_the_options_that_it_is_given() -> None:
    count = 0
    for page, name, words in commands():
        known = {"--help"}.union(*(param.opts for param in SUBCOMMANDS[name].params))
        given = {word.split("=")[0].rstrip(".,:…") for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, f"{page.name}: eas-redirect {name} {' '.join(words)}"
        count += 1
    assert count > 60


def test_the_commands_by_symptom_run(tmp_path: Path) -> None:
    """Those on the journal, against one that has what they look for."""
    page = (ROOT / "docs" / "symptoms.md").read_text("utf-8")
    greps = re.findall(r"(?m)^grep .*JOURNAL.*$", page)
    journal = tmp_path / "journal.jsonl"
    line = {
        "eas": {"decision": "pass", "reason": "logon_not_proven"},
        "user": {"name": "anna@contoso.example"},
        "http": {"response": {"status_code": 403}},
    }
    journal.write_text(json.dumps(line, separators=(",", ":")) + "\n")
    for command in greps:
        ran = subprocess.run(
            ["sh", "-ec", command.replace("JOURNAL", str(journal))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert "logon_not_proven" in ran.stdout, command
    assert len(greps) >= 3


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").read_text("utf-8").count("\n") < 120
