"""Where mailboxes went: Active Directory over LDAP, or an LDIF snapshot of it."""
