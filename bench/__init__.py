"""What it costs, measured beside a floor in the same run: `make bench` writes docs/benchmarks.md, .json and .svg.

A floor is the least that the same work can cost with the same libraries: the same rows, the same bytes, the same number
of durable commits, and nothing else. Machines are noisy, so what counts is the ratio, not the number.
"""
