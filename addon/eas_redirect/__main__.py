"""`python -m eas_redirect` is `eas-redirect`."""

from eas_redirect.cli.main import main

main()
