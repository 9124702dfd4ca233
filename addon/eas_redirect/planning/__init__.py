"""The rehearsal of a wave: readiness, findings, lists of users and devices."""
