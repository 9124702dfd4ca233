"""Captured traffic, read and explained: flow files and HAR in, each device's time line out,
with what is wrong and what helps.

Begin with `capture.py` (a file as exchanges) and `device_timeline.py` (exchanges as one device's
story); `looking.py` judges what mitmproxy has loaded.
"""
