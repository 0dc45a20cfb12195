"""The blueprint that every page is on, and the page that a request is about."""

from importlib import import_module
from typing import Any

from apiflask import APIBlueprint
from flask import current_app, request

PAGES = (
    "sign_in",
    "pools",
    "redemptions",
    "new_pool",
    "keys",
    "batches",
    "trouble",
    "assignments",
    "learners",
    "invoices",
    "sources",
    "endpoints",
    "organizations",
    "courses",
    "tokens",
    "users",
    "reports",
    "history",
)

blueprint = APIBlueprint(
    "console",
    __name__,
    url_prefix="/console",
    template_folder="templates",
    static_folder="static",
    enable_openapi=False,
)


def install_routes() -> None:
    """Import the pages, whose routes go on the blueprint."""
    for page in PAGES:
        import_module(f"webhook.console.{page}")


def standing() -> tuple[str, dict[str, Any]]:
    """Give the page that a request is about, by endpoint and arguments.

    An act is about the page that its form stands on: it names that page, whose arguments are among
    its own. Its address carries the page's query, so what the page shows is what it showed before.
    """
    given = request.view_args or {}
    on = getattr(current_app.view_functions.get(str(request.endpoint)), "on", None)
    if on is None:
        return str(request.endpoint), given
    page = f"{blueprint.name}.{on}"
    [rule] = current_app.url_map.iter_rules(page)
    return page, {name: given[name] for name in rule.arguments}
