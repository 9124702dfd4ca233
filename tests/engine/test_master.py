"""Which addons the engine keeps: those that the job needs and those that the user turned on."""

import pytest
from mitmproxy import hooks
from mitmproxy.options import Options
from mitmproxy.tools import cmdline

from eas_redirect.engine.command_line import _profile
from eas_redirect.engine.master import NEEDED, EngineMaster, loaded
from eas_redirect.engine.proxy_process import _set_options


async def engine(tmp_path_factory: pytest.TempPathFactory, *arguments: str) -> EngineMaster:
    """An engine that has read its command line, as far as letting go of addons."""
    options = Options()
    made = EngineMaster(options, stop_timeout_s=1.0)
    confdir = tmp_path_factory.mktemp("confdir")
    words = [
        "--set",
        f"confdir={confdir}",
        *_profile(arguments),
        *(word.format(folder=confdir) for word in arguments),
    ]
    _set_options(options, cmdline.mitmdump(options).parse_args(words))
    made._let_go_of_idle_addons()
    return made


async def test_only_what_the_job_needs(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert set(loaded(await engine(tmp_path_factory))) == NEEDED | {"termlog"}


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["-w", "{folder}/flows"], {"save"}),
        (["--set", "hardump={folder}/x.har"], {"savehar"}),
        (["--set", "modify_headers=/~q/X/y"], {"modifyheaders"}),
        (["--set", "block_global=true"], {"block"}),
        (["--set", "flow_detail=1"], {"dumper"}),
        (["--set", "onboarding=true"], {"onboarding"}),
        (["--set", "anticache=true"], {"anticache"}),
        (["--set", "stickycookie=.*"], {"stickycookie"}),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
async def test_what_the_user_turns_on_stays(
    tmp_path_factory: pytest.TempPathFactory, arguments: list[str], kept: set[str]
) -> None:
    made = await engine(tmp_path_factory, *arguments)
    assert set(loaded(made)) == NEEDED | {"termlog"} | kept
    made.addons.trigger(hooks.DoneHook())  # some of them have opened a file


async def test_every_option_of_mitmdump_is_known(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = await engine(tmp_path_factory)
    for name in ("save_stream_file", "map_remote", "client_replay", "dumper_filter", "proxyauth"):
        assert name in made.options
