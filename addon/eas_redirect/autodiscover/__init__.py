"""Autodiscover as phones speak it (MS-ASCMD 2.2.1.1), pure: bytes in, values out, and bytes again.

Begin with `phone_request.py` (who asks, for whom) and `answer.py` (what the server said, and what
replaces it). Outlook's schema, SOAP and JSON are not read; they cross untouched.
"""
