"""What is fixed in mitmproxy's HTTP/1, each with its reason. Whatever does not fit the mitmproxy at
hand stays out; `engine/replaced.py` says what happens then.

Begin with `http1.py`, which lists the fixes; `proxy/part.py` is how one of them takes its place.
"""
