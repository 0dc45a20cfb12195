"""HTTP for every route: problem details, JSON, rate limits, preconditions, files, the OpenAPI document.

Enters: what any route needs of HTTP. What only one door needs belongs to that door.
"""
