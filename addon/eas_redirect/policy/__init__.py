"""What to do with an answer, pure: screen, decide, and the location to name."""
