"""The API under /api/v1: a module per resource, a domain function per route."""

from webhook.api import (
    assignments,
    batches,
    charges,
    courses,
    distributions,
    endpoints,
    events,
    history,
    invoices,
    keys,
    launches,
    learners,
    organizations,
    payments,
    pools,
    prices,
    redemptions,
    reports,
    seller,
    sources,
    tokens,
    users,
)

blueprints = [
    module.blueprint
    for module in (
        organizations,
        courses,
        prices,
        pools,
        keys,
        distributions,
        batches,
        sources,
        tokens,
        users,
        endpoints,
        events,
        redemptions,
        assignments,
        launches,
        learners,
        charges,
        invoices,
        payments,
        reports,
        seller,
        history,
    )
]
