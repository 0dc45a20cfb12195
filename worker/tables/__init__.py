"""The tables as Python sees them: columns and relations, by schema.sql's own headings.

schema.sql is the truth and says why each rule and index is there; a test compares the two. What
Python never touches (functions, triggers, policies, views, some tables) is in schema.sql alone.

Enters: columns only. Rules stand in schema.sql, and what is done with rows in the rooms above.
"""
