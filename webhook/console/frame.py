"""The blueprint that every page is on."""

from importlib import import_module

from apiflask import APIBlueprint

PAGES = (
    "sign_in",
    "pools",
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
