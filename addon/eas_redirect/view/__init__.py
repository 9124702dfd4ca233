"""Shows captured traffic: the EAS view of mitmproxy, and the differences between two flows.

Begin with `contentview.py`, which mitmproxy calls, and `commands.py`, the commands of its console.
For any bytes, the time is linear.
"""
