"""What `check` knows of mitmproxy is true of the mitmproxy that is installed."""

from mitmproxy.options import Options

from eas_redirect import profile
from eas_redirect.checking.local import MITMPROXY_DEFAULTS


def test_the_defaults_of_the_options_that_the_addon_sets() -> None:
    defaults = {name: option.default for name, option in Options()._options.items()}
    for setting in profile.settings():
        default = defaults.get(setting.option)
        if isinstance(setting.value, bool) or default is None:
            continue
        assert MITMPROXY_DEFAULTS[setting.option] == str(default)
