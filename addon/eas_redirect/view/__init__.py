"""Captured traffic shown: the EAS view of mitmproxy."""
