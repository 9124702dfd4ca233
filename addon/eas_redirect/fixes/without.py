"""What happens where the fixes of HTTP/1 are not in place. Imports nothing."""

WITHOUT_FIXES = (
    "an interim answer of Exchange's (100, 102, 103) hangs its client",
    "a request or an answer with trailers hangs both of its connections",
    "an answer that ends before its request does, such as a 401 to a large upload, hangs the client"
    " until it has sent everything",
    "what follows a 101 at once is cut, and one before the request's end ends the exchange",
    "a client that closes its sending half behind its request gets no answer",
    "`Expect: 100-continue` is answered by mitmproxy, not by Exchange",
    "a 204 with a transfer coding, and a header whose name is no token, become a 502",
    "a head, a chunk's first line or trailers without end are kept in memory",
    "connections that Exchange closed when idle stay open towards the client",
    "error pages name mitmproxy and the address of Exchange; a device gets 502 where it is away",
    "the log can quote heads that could not be read, with the passwords in them",
)
