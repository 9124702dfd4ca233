"""What lives as long as a configuration: the service, its reloading, what it shows. No mitmproxy.

Begin with `service.py`: judge, journal and whoever listens, adopted whole or not at all; then
`watching.py` makes the next one, `monitor.py` serves the pages.
"""
