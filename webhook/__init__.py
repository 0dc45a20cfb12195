"""The web: it lets requests in and reads results; the worker does the work."""

import time
from contextlib import suppress
from importlib.metadata import version

import structlog
from apiflask import APIFlask
from flask import Response, g, request

from webhook import api, console, docs, health, metrics, redeem, unsubscribe
from webhook.http import (
    clients,
    counting,
    headers,
    languages,
    limits,
    openapi,
    problems,
    strictjson,
)
from webhook.receiver import messages, receiver
from worker import celery, errors, logs, tracing
from worker import metrics as counts
from worker.database import connections, revisions
from worker.database.connections import Login
from worker.logs import log

LARGEST_API_BODY = 1024 * 1024  # bytes of an API request; imports have no limit

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}  # others are counted as one


def create_app() -> APIFlask:
    """Make the web application, as `python -m webhook` serves it.

    Raises:
        KeypoolError: this code does not run with the database's revision. If the database is
            unreachable, the application starts, and answers 503 until it is back.
    """
    logs.configure("web")
    _require_a_fitting_database()
    celery.publish_quickly()
    app = APIFlask(__name__, title="keypool", version=version("keypool"), docs_path=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_API_BODY
    app.url_map.merge_slashes = False  # a repeated slash is a wrong path, never a redirect
    strictjson.install(app)
    problems.install(app)
    openapi.install(
        app, posted=messages.WebhookMessage, decided=receiver.Decided, accepted=receiver.Accepted
    )
    for blueprint in (
        receiver.blueprint,
        health.blueprint,
        metrics.blueprint,
        *api.blueprints,
        docs.blueprint,
        unsubscribe.blueprint,
    ):
        app.register_blueprint(blueprint)
    console.install(app)
    redeem.install(app)
    clients.install(app)
    app.before_request(_begin)
    limits.install(app)
    app.after_request(_end)
    return app


def _require_a_fitting_database() -> None:
    with suppress(errors.DatabaseAwayError), connections.session(Login.WEB) as session:
        revisions.require(session)


def _begin() -> None:
    g.begun = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    languages.begin()
    g.request_id = clients.request_id(request.headers.get("X-Request-Id"))
    structlog.contextvars.bind_contextvars(request=g.request_id)
    _refuse_nul()


def _refuse_nul() -> None:
    # PostgreSQL's texts cannot contain it, so nothing has such a name.
    if "\0" in request.path or "\0" in "".join(sum(request.args.items(multi=True), ())):
        raise problems.BadPathError


def _end(response: Response) -> Response:
    for name, value in headers.every().items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = g.request_id
    languages.marked(response)
    seconds = time.perf_counter() - g.begun
    route = request.url_rule.rule if request.url_rule else None  # the path may hold a key
    log.info(
        "request",
        method=request.method,
        route=route,
        status=response.status_code,
        milliseconds=round(seconds * 1000, 1),
    )
    # Who asked to wait for a decision is no measure of how quick the web is.
    waited = "Preference-Applied" in response.headers
    _count(route or "none", response.status_code, None if waited else seconds)
    if event_id := g.get("recorded"):
        _trace(event_id, response.status_code, seconds)
    return response


def _trace(event_id: int, status: int, seconds: float) -> None:
    attributes: dict[str, str | int] = {
        "http.response.status_code": status,
        "keypool.request_id": g.request_id,
    }
    sender = request.headers.get("traceparent")
    tracing.received(event_id, seconds, traceparent=sender, **attributes)


def _count(route: str, status: int, seconds: float | None) -> None:
    method = request.method if request.method in METHODS else "other"
    counts.REQUESTS.add(method, route, str(status))
    if seconds is not None:
        counts.REQUEST_SECONDS.observe(seconds, method, route)
    counting.carrier.begin()
