"""The tables as Python sees them: columns and relations, by schema.sql's own headings.

Enters: columns only. Rules stand in schema.sql, and what is done with rows in the rooms above.
"""
