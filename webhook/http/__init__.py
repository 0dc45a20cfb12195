"""What every door needs: problems, JSON, limits, preconditions, files, the OpenAPI document.

Enters: what HTTP asks of any route. What a route is about belongs to its door.
"""
