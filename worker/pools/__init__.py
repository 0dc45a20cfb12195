"""Pools and their keys: making, importing, distributing, exporting.

Enters: what is done with keys before they are redeemed. Nothing about redemption.
"""
