"""HAProxy's side: it carries every byte, and asks a judge on the same machine about the few answers
that may say UserHasNoMailbox. Imports no mitmproxy.

Begin with `question.py`: what crosses the judge's socket. `eas.lua` (in `data/`) writes it.
"""
