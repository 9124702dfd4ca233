"""What to do with an answer, pure. `decision.screen` says what the wire alone can tell, and asks;
`decision.decide` goes the way from what the directory says to the location. The reasons with their
words, and the hosts of Exchange Online, stand here once.
"""
