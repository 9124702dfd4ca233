"""Captured traffic shown: the EAS view of mitmproxy, and what two flows differ in.

Begin with `contentview.py`, which mitmproxy calls, and `meanings.py`, what the numbers of a body
mean. Whatever bytes come, the time is linear.
"""
