"""The ORM classes: columns and relations, by schema.sql's headings.

schema.sql is the source of truth and says why each rule and index is there; a test compares the two.
What Python never uses (functions, triggers, policies, views, some tables) is only in schema.sql.

Enters: only columns. Rules are in schema.sql, and code that works with rows in the rooms above.
"""
