"""The protocol of Exchange ActiveSync, pure: bytes and strings in, values out."""
