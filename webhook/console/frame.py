"""The blueprint that every page is on, and the page that a request is about."""

from importlib import import_module
from typing import Any

from apiflask import APIBlueprint
from flask import current_app, request

PAGES = (
    "home",
    "searching",
    "sign_in",
    "links",
    "first_start",
    "second_factor",
    "single_sign_on",
    "account",
    "sessions",
    "pools",
    "redemptions",
    "new_pool",
    "keys",
    "batches",
    "trouble",
    "assignments",
    "bulk_acts",
    "learners",
    "invoices",
    "sources",
    "endpoints",
    "messages",
    "templates",
    "reminders",
    "organizations",
    "courses",
    "tokens",
    "users",
    "reports",
    "history",
    "help",
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
    """Import the pages, which register their routes."""
    for page in PAGES:
        import_module(f"webhook.console.{page}")


def standing() -> tuple[str, dict[str, Any]]:
    """Give the page of a request, as endpoint and arguments.

    The page of a submitted form is the one that the form is on: its view names that page, whose
    arguments are among its own. Its URL has the page's query, so the page shows the same as before.
    """
    arguments = request.view_args or {}
    on = getattr(current_app.view_functions.get(str(request.endpoint)), "on", None)
    if on is None:
        return str(request.endpoint), arguments
    page = f"{blueprint.name}.{on}"
    [rule] = current_app.url_map.iter_rules(page)
    return page, {name: arguments[name] for name in rule.arguments}
