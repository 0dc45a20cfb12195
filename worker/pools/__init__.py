"""Pools and their keys: making, importing, distributing, exporting.

Enters: what is done with keys before a learner has one. Who redeems them is not known here.
"""
