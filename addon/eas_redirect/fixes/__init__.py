"""What is fixed in mitmproxy's HTTP/1, each with its reason."""
