"""Learners and what they may take: assignments, launches, erasing.

Enters: what happens to a learner after a key was redeemed. Redeeming itself is next door.
"""
