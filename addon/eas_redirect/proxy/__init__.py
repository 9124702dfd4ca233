"""mitmproxy's side: exchanges under way, flows as values, logons of connections, options."""
