"""A client that compares each JSON answer with what the app's own document says of it.

No field more and none less, each of the type that is told: what somebody reads in `/openapi.json` is
what comes. `tests/webhook/conftest.py` makes it every app's client.
"""

import json
import re
from functools import cache
from typing import Any
from urllib.parse import quote

from apiflask import APIFlask
from flask.testing import FlaskClient
from jsonschema_rs import Draft202012Validator, Registry
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

PROBLEM = "application/problem+json"
DOCUMENT = "/openapi.json"  # which describes itself no further
WHOLE = "urn:openapi"  # the document's name among the validators


class CheckedClient(FlaskClient):
    """A test client whose every JSON answer is compared."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        answer = super().open(*args, **kwargs)
        if answer.is_json and answer.request.path != DOCUMENT:
            compare(self.application, answer)
        return answer


def compare(app: APIFlask, answer: TestResponse) -> None:
    """Require that the document has an answer's route, status and type, and all that it tells."""
    route = _route(app, answer)
    openapi(app)  # of it the validators are made
    found = _validator(route, answer.status_code, answer.mimetype)
    wrong = [
        f"{'.'.join(map(str, error.instance_path)) or 'the answer'}: {error.message}"
        for error in found.iter_errors(answer.get_json())
    ]
    assert not wrong, f"{route} {answer.status_code} is not as the document says: {wrong}"


def _route(app: APIFlask, answer: TestResponse) -> str | None:
    """Give the method and path of an answer's route, as the document names them; None: of none."""
    asked = answer.request
    try:
        rule, _ = app.url_map.bind("").match(asked.path, asked.method, return_rule=True)
    except HTTPException:
        return None
    return f"{asked.method} " + re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule)


def openapi(app: APIFlask) -> dict[str, Any]:
    """Give the document, made once in this process: every app has the same, and it takes a while."""
    if not _made:
        _made.update(json.loads(json.dumps(app.spec)))
    return _made


_made: dict[str, Any] = {}


def _closed(schema: Any) -> Any:
    """Let every object of a document have the properties that it names, and no others."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(inner) for name, inner in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


@cache
def _validator(route: str | None, status: int, media_type: str) -> Draft202012Validator:
    known, registry = _closed_document()
    told = {"$ref": WHOLE + _pointer(_told(known, route, status, media_type))}
    return Draft202012Validator(told, registry=registry, validate_formats=True)


@cache
def _closed_document() -> tuple[Any, Registry]:
    """Give the document, and the registry that all validators share: a copy for each takes 2 MB."""
    known = _closed(_made)
    return known, Registry([(WHOLE, known)])


def _told(document: Any, route: str | None, status: int, media_type: str) -> tuple[str, ...]:
    """Give where in the document it says what an answer has."""
    if route is None:
        assert media_type == PROBLEM
        return "components", "schemas", "Problem"
    method, path = route.split()
    answers = document["paths"][path][method.lower()]["responses"]
    assert str(status) in answers, f"{route} answers {status}, which the document does not have"
    contents = answers[str(status)].get("content", {})
    assert media_type in contents, f"{route} {status} comes as {media_type}, not {list(contents)}"
    place = "responses", str(status), "content", media_type, "schema"
    return "paths", path, method.lower(), *place


def _pointer(names: tuple[str, ...]) -> str:
    """Write names as a JSON pointer in a URI's fragment (RFC 6901)."""
    return "#/" + "/".join(quote(name.replace("~", "~0").replace("/", "~1")) for name in names)
