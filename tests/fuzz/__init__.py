"""Fuzzing: `make fuzz MINUTES=n` feeds every reader of foreign bytes with mutations of a corpus.

`targets*` say what is fuzzed and what must hold, `fuzzer` does it, `__main__` is the command. No
dependency beyond the standard library: coverage comes from `sys.monitoring`.
"""
