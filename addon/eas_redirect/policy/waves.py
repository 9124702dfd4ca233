"""Who is meant by a wave: users, a stable percentage, device types, networks. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """`redirect.only` and `redirect.except` as one value. The default means everyone."""
