"""The catalogue: courses and prices.

Enters: a course's fields, and which price is in force. Nothing about pools.
"""
