"""The API under /api/v1: a module a resource, a route a domain function."""

from webhook.api import (
    assignments,
    charges,
    courses,
    events,
    invoices,
    learners,
    organizations,
    pools,
    prices,
    redemptions,
    sources,
    tokens,
)

blueprints = [
    module.blueprint
    for module in (
        organizations,
        courses,
        prices,
        pools,
        sources,
        tokens,
        events,
        redemptions,
        assignments,
        learners,
        charges,
        invoices,
    )
]
