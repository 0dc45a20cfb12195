"""The console: pages for the people who run pools, bill, and help learners."""

import hashlib
from functools import cache

from apiflask import APIBlueprint, APIFlask
from flask import Flask, Request, Response, redirect
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_wtf import CSRFProtect

from webhook.console import (
    access,
    answers,
    choosing,
    forms,
    letters,
    packing,
    plotting,
    tables,
    words,
)
from webhook.console.frame import blueprint, install_routes
from worker.settings import settings
from worker.tenancy import secrets

csrf = CSRFProtect()


class Sessions(SecureCookieSessionInterface):
    """Sessions only for the console's pages, because reading one would slow every webhook."""

    digest_method = staticmethod(hashlib.sha256)  # Flask's own is SHA-1

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Read the session of a request for a page; None (no session) for other requests."""
        if request.path.startswith(f"{blueprint.url_prefix}/"):
            return super().open_session(app, request)
        return None


def install(app: APIFlask) -> None:
    """Add the console to an app: sessions, CSRF protection, pages."""
    https = (settings().public_url or "").startswith("https:")
    app.config.update(
        SECRET_KEY=secrets.derived("sessions"),  # an old key signs no session
        SESSION_COOKIE_NAME="__Host-keypool" if https else "keypool",
        SESSION_COOKIE_SECURE=https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=settings().session_lasts,
        WTF_CSRF_CHECK_DEFAULT=False,  # the API's callers have tokens and no cookies
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session: a form may stay open overnight
        WTF_CSRF_SSL_STRICT=https,
    )
    app.session_interface = Sessions()
    csrf.init_app(app)
    access.manager.init_app(app)
    app.register_blueprint(_pages())
    app.add_url_rule("/", "console.front", _front, methods=["GET"])


@cache
def _pages() -> APIBlueprint:
    # Once per process, because a registered blueprint takes no more routes.
    install_routes()
    words.install(blueprint)
    forms.install(blueprint)
    choosing.install(blueprint)
    packing.install(blueprint)
    answers.install(blueprint)
    tables.install(blueprint)
    letters.install(blueprint)
    plotting.install(blueprint)
    blueprint.before_request(csrf.protect)
    return blueprint


def _front() -> Response:
    return redirect("/console/", 303)  # type: ignore[return-value]  # werkzeug's own class
