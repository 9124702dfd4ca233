"""A migration in miniature on loopback: Exchange, target, directory and devices."""
