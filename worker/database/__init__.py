"""Access to the database: connections, timeouts, the schema, migrations, and what every query needs.

Enters: what serves any table alike (paging, look-up, versions, locks). No noun of the domain does.
"""
