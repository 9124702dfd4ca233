"""The protocol of Exchange ActiveSync, pure: bytes and strings in, values out. Begin with
`request.read_request`, `authorization.identify` and `response.read_answer`; `exchange.Exchange`
holds what they return.
"""
