"""Redeeming keys: sources, the inbox, settling in order, and the outcomes.

Enters: everything between a recorded event and its outcome. Assignments and charges are in rooms below.
"""
