"""Access to the database: connections, timeouts, the schema, migrations, and what every query needs.

Enters: what works for any table (paging, look-up, versions, locks), and nothing of the domain.
"""
