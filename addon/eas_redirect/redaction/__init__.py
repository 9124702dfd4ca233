"""Captured traffic made fit to share."""
