"""Captured traffic made fit to share: structure, statuses and times stay, names and contents go.

Begin with `redact.py`, the way of a capture; `forms.py` says what may stay, and `secrets_search.py`
looks at the end for what should have gone.
"""
