"""Acts on many rows of a list at once; what becomes of each row is kept.

Enters: what is selected, what an act on it costs, and doing it at once or by the worker. What an act does to
one row is in that row's own room.
"""
