"""The mitmproxy hooks, in the order of an exchange."""


class Redirect:
    """The addon."""
