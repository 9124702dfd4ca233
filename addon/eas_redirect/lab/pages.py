"""The HTML that IIS puts into answers that are not EAS. What it says never matters to a client."""

_PAGE = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" '
    '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">\r\n'
    "<html><head><title>{title}</title></head>\r\n"
    "<body><h1>Server Error</h1><h2>{title}</h2></body></html>\r\n"
)


def _page(title: str) -> bytes:
    return _PAGE.format(title=title).encode()


BAD_REQUEST = _page("400 - Bad Request")
UNAUTHORIZED = _page("401 - Unauthorized: Access is denied due to invalid credentials.")
FORBIDDEN = _page("403 - Forbidden: Access is denied.")
NOT_FOUND = _page("404 - File or directory not found.")
NEED_PROVISIONING = _page("449 - Need Provisioning")
NOT_IMPLEMENTED = _page("501 - Not Implemented")
UNAVAILABLE = _page("503 - Service Unavailable")
OWA = _page("Outlook Web App").replace(b"Server Error", b"Outlook Web App")
