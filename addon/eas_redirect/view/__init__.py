"""Captured traffic shown: the EAS view of mitmproxy, and what two flows differ in.

Begin with `contentview.py`, which mitmproxy calls, and `commands.py`, what can be typed in its
console. Whatever bytes come, the time is linear.
"""
