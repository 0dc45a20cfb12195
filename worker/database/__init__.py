"""The way to the database: connections, the schema, and what every query needs.

Enters: what serves any table alike (paging, look-up, versions, locks). No noun of the domain does.
"""
