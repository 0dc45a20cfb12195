"""`/docs`: the OpenAPI document as a page, rendered on the server; a script searches it and tries requests."""

from functools import cache
from typing import Any

from apiflask import APIBlueprint, APIFlask
from flask import Response, current_app, make_response, render_template

from webhook.docs import examples
from worker.settings import settings

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}

blueprint = APIBlueprint(
    "docs",
    __name__,
    url_prefix="/docs",
    template_folder="templates",
    static_folder="static",
    enable_openapi=False,
)


@blueprint.get("")
def page() -> Response:
    """Show the API's requests and responses, route by route."""
    app: Any = current_app
    answer = make_response(_rendered(app._get_current_object()))
    answer.headers.extend(HEADERS)
    return answer


@cache
def _rendered(app: APIFlask) -> str:
    document: Any = app.spec
    return render_template(
        "docs.html",
        document=document,
        groups=_groups(document),
        examples=examples,
        shapes=document["components"]["schemas"],
        origin=settings().web_url(""),
    )


def _groups(document: Any) -> dict[str, list[dict[str, Any]]]:
    """Group the operations by tag, sorted by name."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            [about, *_] = operation.get("tags") or ["Other"]
            groups.setdefault(about, []).append(operation | {"path": path, "method": method})
    return dict(sorted(groups.items()))
