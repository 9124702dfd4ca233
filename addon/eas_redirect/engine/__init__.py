"""mitmproxy itself: mended, run with only what this job needs, stopped gracefully, multiplied."""
