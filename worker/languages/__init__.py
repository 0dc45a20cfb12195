"""What people write and read: its characters, and the catalogue of words for them.

Enters: what is so for all text, whatever it is about. No noun of the domain does.
"""
