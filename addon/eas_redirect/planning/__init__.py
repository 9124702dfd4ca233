"""The rehearsal of a wave: for each user the location and the findings, for each device what awaits
it. It changes nothing and sends nothing.

Begin with `plan.py`, which asks the proxy's own judge; `plan_output.py` shows what it finds.
"""
