"""Benchmarks: ours, the limit and the peer, measured in one run on the same database."""
