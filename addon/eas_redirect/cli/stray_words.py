"""Command lines as people write them before they know the options: what was probably meant."""

import re
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from eas_redirect.cli.common import USAGE, fail

_HOST_AND_PORT = re.compile(r"(?:https?://)?(?P<place>[\w.-]+:[0-9]{1,5})/?")
_MODES = frozenset({"observe", "enforce"})


class HelpfulCommand(TyperCommand):
    """Ends with the option that a word wants which stands alone. Nothing of it is overlooked:
    `run other.toml` must not run the default settings."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        self._refuse(ctx, rest)
        return rest

    def _refuse(self, ctx: Any, strays: list[str]) -> None:
        if not strays or ctx.resilient_parsing:
            return
        word, options = strays[0], {name for param in self.params for name in param.opts}
        advice = _meant(word, options) or f"{ctx.command_path} --help shows what there is."
        fail(f"{word}: no option takes this word. {advice}", USAGE)


class RunCommand(HelpfulCommand):
    """Knows that people will try mitmdump's options where they know them from."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = list(args)
        try:
            rest = super().parse_args(ctx, args)
        except Exception as error:  # typer brings its own click, or uses the one that is installed
            if type(error).__name__ != "NoSuchOption":
                raise
            _refuse_option(getattr(error, "option_name", ""), words)
        behind = words[words.index("--") + 1 :] if "--" in words else []
        given = ctx.params.get("options") or []
        self._refuse(ctx, given[: len(given) - len(behind)])
        return rest


def _refuse_option(option: str, words: list[str]) -> None:
    if option == "--mode" and _MODES & {word.rpartition("=")[2] for word in words}:
        fail(
            "The mode stands in the settings: mode = … at the top of the file, or"
            " EAS_REDIRECT__MODE=… in the environment.",
            USAGE,
        )
    fail(
        f"There is no option {option}. If it is one of mitmdump's, put it behind `--`:"
        f" eas-redirect run … -- {option} …",
        USAGE,
    )


def _meant(word: str, options: set[str]) -> str | None:
    """What to write instead, if the command has an option for it."""
    if "--user" in options and ("@" in word or "\\" in word):
        return f"Name a user with --user: --user '{word}'."
    if "--at" in options and (place := _HOST_AND_PORT.fullmatch(word)):
        return f"Name the address with --at: --at {place['place']}."
    if "--upstream" in options and "://" in word:
        return f"Name the old Exchange with --upstream: --upstream {word}."
    if "--config" in options and (word.endswith(".toml") or Path(word).exists()):
        return f"Name the settings with --config: --config {word}."
    return None
