"""What to do with an answer, pure. `screen` says what the wire alone can tell, and asks; `decide`
goes the way from what the directory says to the location. The reasons with their words, and the
hosts of Exchange Online, stand here once.

Begin with `decision.py`; `verdict.py` has the values, `reasons.py` the words.
"""
