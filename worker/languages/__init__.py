"""Text that people write and read: its characters, the fonts that have them, and translations.

Enters: what holds for any text. No noun of the domain does: whoever says a sentence owns it, in English.
"""
