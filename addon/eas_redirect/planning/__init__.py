"""The rehearsal of a wave: for each user the location and the findings, for each device what awaits
it. Nothing is changed, nothing is sent.

Begin with `plan.py`, which asks the judge of the proxy; `plan_output.py` shows what it finds.
"""
