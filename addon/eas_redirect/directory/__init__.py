"""Where mailboxes went: Active Directory over LDAP, or an LDIF snapshot of it. A logon in, exactly
one account out, or why there is none.

Begin with `values.py` (questions and answers), `logons.py` (which questions a logon needs) and
`cache.py`, through which every exchange asks.
"""
