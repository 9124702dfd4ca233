"""A policy over a directory. Whoever carries the bytes hands in an `Exchange` of plain values and
gets a `Judgement`: begin with `judge.Judge`. Beside it stands what an exchange alone does not tell:
who has logged on by a connection, who calls through a front, which servers ask for a logon.
"""
