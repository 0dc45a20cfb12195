"""Learners and their access: assignments, launches, and erasing a person (redaction).

Enters: what happens to a learner after a key was redeemed. Redeeming itself is in `worker.redemption`.
"""
