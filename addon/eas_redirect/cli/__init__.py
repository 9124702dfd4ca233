"""The eas-redirect command: one file a command, thin faces over the other rooms.

Begin with `main.py`, which names the commands; `common.py` has what they share: exit codes, how
they read the configuration, how they talk. Rooms that cost time are imported when a command runs.
"""
