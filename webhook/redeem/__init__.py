"""The redeem page: a key, an address, its proof, the answer; and a person's own courses.

Enters: what a learner's browser sees. Proofs, keys and answers are the worker's.
"""

from functools import cache
from importlib import import_module

from apiflask import APIBlueprint, APIFlask

from webhook.redeem import frame

PAGES = ("keys", "mine")


def install(app: APIFlask) -> None:
    """Add the pages to an app."""
    app.register_blueprint(_pages())


@cache
def _pages() -> APIBlueprint:
    # Once per process, because a registered blueprint takes no more routes.
    for page in PAGES:
        import_module(f"webhook.redeem.{page}")
    frame.install()
    return frame.blueprint
