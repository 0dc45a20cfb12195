"""Spending keys: sources, the inbox, settling in order, and what was decided.

Enters: everything between a recorded event and its outcome. What a grant makes lies in rooms below.
"""
