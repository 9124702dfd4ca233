"""mitmproxy itself: what it does not do right for this job, mended. May import mitmproxy."""
