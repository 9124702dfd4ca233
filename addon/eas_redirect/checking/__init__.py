"""What the proxy will need, tried before it is needed: `eas-redirect check`."""
