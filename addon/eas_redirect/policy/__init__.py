"""What to do with an answer, pure. `screen` decides what the wire alone can tell, or asks; `decide`
gets from the directory's answer to the location. The reasons with their words, and the hosts of
Exchange Online, are defined here once.

Begin with `decision.py`; `verdict.py` has the values, `reasons.py` the words.
"""
