"""Pools and their keys: making, importing, distributing, exporting.

Enters: what is done with keys before they are redeemed. This room does not know redemption.
"""
