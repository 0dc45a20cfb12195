"""Additions to APIFlask's OpenAPI document: tokens, roles, problems, and the receiver."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from apiflask import APIFlask
from pydantic import BaseModel

from webhook.http import schemas
from webhook.http.problems import Problem
from webhook.http.repeating import IDEMPOTENCY_KEY
from webhook.http.schemas import Schema
from worker.tenancy import answers as remembered

T = TypeVar("T", bound=Callable[..., Any])

TEXT = {"schema": {"type": "string"}}
JSON, PROBLEM = "application/json", "application/problem+json"
DONE = {
    200: "Done.",
    201: "Made.",
    202: "Under way; Location says where to look.",
    503: "Not as it should be.",
}
REPEATED = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "description": "The same again with the same request is done once, and answered as at first.",
    "schema": {"type": "string", "pattern": f"^{remembered.KEY.pattern}$"},
}
UNLESS = {
    "name": "If-None-Match",
    "in": "header",
    "description": "An ETag; nothing is sent where it still holds.",
    "schema": {"type": "string"},
}
IF = {
    "name": "If-Match",
    "in": "header",
    "description": "An ETag; nothing is done where somebody changed the thing since.",
    "schema": {"type": "string"},
}
TAG = {"ETag": {"schema": {"type": "string"}}}
ANSWERS = {
    "400": "The body is not JSON, or the request is malformed.",
    "401": "No valid token.",
    "403": "The token's role lacks this.",
    "404": "Unknown, or not of the token's organizations.",
    "409": "A rule says no; the problem's type ends in its code. Or a request with the same"
    " Idempotency-Key is under way.",
    "411": "The body's length must be given.",
    "412": "Somebody changed it since If-Match was read.",
    "413": "The body is too large.",
    "415": "The body is of a type that is not taken here.",
    "422": "The input is not valid; the problem names the fields.",
    "429": "Too many requests; see Retry-After.",
    "503": "The database is away; see Retry-After. Nothing was done.",
}


def refuses(*statuses: str) -> Callable[[T], T]:
    """Describe the statuses with which a route without roles refuses."""

    def mark(view: T) -> T:
        view.refuses = statuses  # type: ignore[attr-defined]
        return view

    return mark


def describe(
    *, takes: Sequence[str] = (), gives: Sequence[str] = (), only: str | None = None
) -> Callable[[T], T]:
    """Describe a route's requests and responses that are not JSON; with `only` it has no others."""

    def mark(view: T) -> T:
        view.described = (takes, gives, only)  # type: ignore[attr-defined]
        return view

    return mark


def install(app: APIFlask, *, posted: type[BaseModel], decided: Any, accepted: Any) -> None:
    """Complete an app's document when it is generated.

    The receiver takes `posted`, and answers `decided` or `accepted`.
    """
    app.config.update(
        OPENAPI_VERSION="3.1.0",
        AUTO_SERVERS=False,
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_OPERATION_ID=True,
        SECURITY_SCHEMES={"token": {"type": "http", "scheme": "bearer"}},
        DESCRIPTION="Training keys: pools of them, one redemption each, and what that costs.",
    )
    app.spec_processor(partial(_completed, app, posted, {200: decided, 202: accepted}))


def _completed(
    app: APIFlask, posted: type[BaseModel], received: dict[int, Any], document: Any
) -> Any:
    document = _flat(document)
    views = app.view_functions.values()
    types = [kind for view in views for kind in getattr(view, "answers", {}).values()]
    answers, named = schemas.of([Problem, *received.values(), *types])
    document["components"]["schemas"] |= _schemas(posted) | named
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule)
        for method, operation in document["paths"].get(path, {}).items():
            if method.upper() in (rule.methods or ()):
                view = app.view_functions[rule.endpoint]
                _complete(operation, method.upper(), view, answers)
    about = {str(status): answers[kind] for status, kind in received.items()}
    _describe_receiver(document["paths"]["/webhooks/{source}"]["post"], about)
    return document


def _flat(document: Any) -> Any:
    """Remove the prefix from nested shapes' names, so that each shape has one name."""
    schemas = document["components"]["schemas"]
    document["components"]["schemas"] = {
        name.rpartition(".")[2]: schema for name, schema in sorted(schemas.items())
    }
    return json.loads(re.sub(r"(#/components/schemas/)\w+\.", r"\1", json.dumps(document)))


def _complete(operation: Schema, method: str, view: Any, schema: dict[Any, Schema]) -> None:
    statuses, roles = ["400", "503", *getattr(view, "refuses", ())], getattr(view, "roles", None)
    if roles:
        statuses += ["401", "403", "404", "409", "413", "415", "422", "429"]
        operation["security"] = [{"token": []}]
        operation["x-roles"] = [str(role) for role in roles]
    if hasattr(view, "answers"):
        responses = {
            str(status): _answer(status, schema[kind]) for status, kind in view.answers.items()
        }
        operation["responses"] = responses
    answers = operation.setdefault("responses", {})
    answers.update({status: _problem(status) for status in statuses if status not in answers})
    takes, gives, only = getattr(view, "described", ((), (), None))
    if takes:
        answers["411"] = _problem("411")
    for media_type in takes:
        operation.setdefault("requestBody", {"content": {}})["content"][media_type] = TEXT
    for media_type in gives:
        answers["200"]["content"][media_type] = TEXT
    if only:
        answers["200"] = {"description": "The file.", "content": {only: TEXT}}
    if roles:
        _describe_headers(operation, method, view)


def _describe_headers(operation: Schema, method: str, view: Any) -> None:
    parameters, answers = operation.setdefault("parameters", []), operation["responses"]
    versioned = hasattr(view, "versioned")
    if method == "POST":
        parameters.append(REPEATED)
    if method == "GET" and JSON in answers["200"].get("content", {}):
        parameters.append(UNLESS)
        answers["200"]["headers"] = TAG
        answers["304"] = {"description": "As the caller has it already.", "headers": TAG}
    elif versioned:
        parameters.append(IF)
        answers["200"]["headers"] = TAG
        answers["412"] = _problem("412")


def _problem(status: str, words: str | None = None) -> Schema:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words or ANSWERS[status], "content": {PROBLEM: {"schema": schema}}}


def _answer(status: int, schema: Schema, words: str | None = None) -> Schema:
    return {"description": words or DONE[status], "content": {JSON: {"schema": schema}}}


def _describe_receiver(operation: Schema, answers: dict[str, Schema]) -> None:
    headers = {
        "webhook-id": "Unique; the same message sent again keeps it.",
        "webhook-timestamp": "Seconds since 1970, within five minutes of now.",
        "webhook-signature": "v1, and the HMAC-SHA256 of id.timestamp.body in base64.",
    }
    operation["parameters"] += [
        {
            "name": name,
            "in": "header",
            "required": True,
            "description": words,
            "schema": {"type": "string"},
        }
        for name, words in headers.items()
    ]
    message = {"schema": {"$ref": "#/components/schemas/WebhookMessage"}}
    operation["requestBody"] = {"required": True, "content": {JSON: message}}
    unknown = _problem("401", "Unknown source, bad or missing signature, stale or future time.")
    operation["responses"] |= {
        "200": _answer(200, answers["200"], "Decided: a repeat, or one that was waited for."),
        "202": _answer(202, answers["202"], "Recorded for good; decided soon."),
        "401": unknown,
        "429": _problem("429", "Too many unknown or mistyped keys; see Retry-After."),
        **{status: _problem(status) for status in ("409", "413", "415", "422")},
    }


def _schemas(model: type[BaseModel]) -> dict[str, Schema]:
    schema = model.model_json_schema(ref_template=schemas.AT)
    named: dict[str, Schema] = schema.pop("$defs", {})
    return named | {model.__name__: schema}
