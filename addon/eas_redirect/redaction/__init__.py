"""Makes captured traffic safe to share: structure, statuses and times stay, names and contents go.

Begin with `redact.py`, which handles a whole capture; `forms.py` says what may stay, and
`secrets_search.py` looks at the end for anything that should have gone.
"""
