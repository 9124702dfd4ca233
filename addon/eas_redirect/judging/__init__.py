"""A policy over a directory: judge and explain."""
