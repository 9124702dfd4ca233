"""The eas-redirect command: one file per command, each a thin layer over the other rooms.

Begin with `main.py`, which names the commands; `common.py` has what they share: exit codes, how
they read the configuration, how they talk. Slow imports happen only when a command runs.
"""
