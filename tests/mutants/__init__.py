"""`make mutants`: does any test notice when the code is wrong?

Each mutant is one function with one small mistake: a comparison turned, a condition left out, two
checks in the wrong order, an exception let through. The tests that enter the function run on it, in
a process of their own. A mutant that none of them notices has survived; it needs a test, or a line
in `survivors.tsv` that says why no test can tell it from the code.
"""
