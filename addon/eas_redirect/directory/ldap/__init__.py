"""The directory over LDAP. The only room that imports ldap3."""
