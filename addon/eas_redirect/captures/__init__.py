"""Captured traffic, read and explained."""
