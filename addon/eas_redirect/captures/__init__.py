"""Captured traffic, read and explained: flow files and HAR in, each device's time line out,
with what is wrong and how to fix it.

Begin with `capture.py` (a file as exchanges), `device_timeline.py` (exchanges as one device's
story) and `complaints.py` (what is wrong in it); `looking.py` judges what mitmproxy has loaded.
"""
