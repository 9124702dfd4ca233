"""`eas-redirect` with a supervisor that loses patience in seconds, for python -m.

Nothing else differs. With the real limits a test of a hung worker would take most of a minute.
"""

import sys

from eas_redirect.cli.main import main
from eas_redirect.engine import supervisor

LOOK_S, ASK_S, HUNG_S, GRACE_S = 0.3, 1.5, 3.0, 0.5
PROGRAM = (sys.executable, "-m", "tests.integration.impatient")

if __name__ == "__main__":
    supervisor.LOOK_S, supervisor.HUNG_S, supervisor.KILL_GRACE_S = LOOK_S, HUNG_S, GRACE_S
    supervisor.ASK_TIMEOUT_S = ASK_S
    main()
