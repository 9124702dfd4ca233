"""What `make release-check` looks at: each kind of disagreement is found, and told once."""

from datetime import date

from packaging.version import Version

from tests import release

TODAY = date(2026, 11, 28)
GOOD = "# Changelog\n\n## 0.1.0 — 2026-11-28\n\n### Added\n\n- a\n\n### Fixed\n\n- b\n"


def test_a_changelog_of_this_release_is_right() -> None:
    assert list(release.changelog(GOOD, "0.1.0", TODAY)) == []


def test_each_thing_that_is_wrong_with_a_changelog_is_told() -> None:
    wrong = {
        "# Changelog\n": "no release",
        GOOD.replace("0.1.0 — 2026-11-28", "Unreleased"): "'Unreleased'",
        GOOD.replace("0.1.0", "0.2.0"): "0.2.0",
        GOOD.replace("2026-11-28", "2026-11-29"): "not come yet",
        GOOD.replace("2026-11-28", "2026-13-28"): "no date",
        GOOD.replace("Fixed", "Misc"): "'Misc'",
        GOOD.replace("Fixed", "Added"): "twice",
        GOOD.replace("### Added\n", "").replace("### Fixed\n", ""): "not grouped",
    }
    for text, said in wrong.items():
        [sentence] = release.changelog(text, "0.1.0", TODAY)
        assert said in sentence


def test_only_the_release_at_the_top_is_looked_at() -> None:
    older = "\n## 0.0.9 — 2026-01-01\n\n- not grouped\n"
    assert list(release.changelog(GOOD + older, "0.1.0", TODAY)) == []


def test_constraints_outside_the_bounds_and_another_oldest_are_told() -> None:
    project = {"dependencies": ["mitmproxy>=12.2.2,<12.4", "ldap3"]}
    newest = release.pins("# of libraries\nmitmproxy==12.3.1\nldap3==2.9.1\n")
    oldest = {**newest, "mitmproxy": Version("12.2.2")}
    assert list(release.bounds(project, newest, oldest)) == []
    assert len(list(release.bounds(project, newest, newest))) == 1
    beyond = {**newest, "mitmproxy": Version("12.4.0")}
    [sentence] = release.bounds(project, beyond, oldest)
    assert "12.4.0" in sentence


def test_documents_that_name_another_version_are_told() -> None:
    newest, oldest = Version("12.3.1"), Version("12.2.2")

    def said(text: str) -> list[str]:
        return list(release.documents({"a.md": text}, "0.1.0", newest, oldest))

    assert said("image: example.test/eas-redirect:0.1.0, mitmproxy 12.2.2 to 12.3.1") == []
    assert said("image: example.test/eas-redirect:0.0.9") == [
        "a.md: says eas-redirect 0.0.9, the package is 0.1.0"
    ]
    [sentence] = said("mitmproxy 12.2.0 to 12.3.1")
    assert "12.2.2 to 12.3.1" in sentence
