"""What it costs: `make bench` and `make soak`, and the helpers that measure processes.

`usage` reads /proc, `wrk` drives load, `subjects` are the things compared, `bench` compares them,
`soak` watches one for long, `report` writes it down.
"""
