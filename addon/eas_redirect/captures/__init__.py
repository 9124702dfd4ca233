"""Captured traffic, read and explained: flow files and HAR in, each device's time line out,
with what is wrong and what helps.

Begin with `capture.py` (a file as exchanges) and `device_timeline.py` (exchanges as one device's
story); `explain_flows.py` does it for flows that mitmproxy shows.
"""
