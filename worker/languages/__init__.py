"""Text that people write and read: normalizing its characters, and the catalogue of translations.

Enters: what holds for any text. No noun of the domain does: whoever says a sentence owns it, in English.
"""
