"""The directory over LDAP, on threads and within deadlines. The only room that imports ldap3.

Begin with `active_directory.py`, the directory as others see it; below it `forest.py` asks,
`links.py` chooses a server, and `session.py` is one connection.
"""
