"""What is taught and what it costs: courses and prices.

Enters: what a course has, and which price is in force. Who owns a pool of it is not known here.
"""
