"""Who may call the API: bearer tokens, and the roles that each endpoint names."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from flask import g, request
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from webhook.problems import UnauthenticatedError
from worker import database, tokens
from worker.actors import Actor, Role
from worker.database import Login

P = ParamSpec("P")
R = TypeVar("R")

EVERYBODY = (Role.MANAGER, Role.FINANCE, Role.ANALYST, Role.SENDER)
LONGEST_TOKEN = 200


def allowed(
    *roles: Role,
) -> Callable[[Callable[Concatenate[Session, Actor, P], R]], Callable[P, R]]:
    """Let the operator's tokens in and those of the given roles, in one transaction.

    The view is given the session, which sees the token's organizations alone, and the actor. Put
    it right under the route: nobody without a token learns what a request should look like.
    """

    def guard(view: Callable[Concatenate[Session, Actor, P], R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            with database.session(Login.WEB) as session:
                actor = authenticate(session)
                actor.require(*roles)
                return view(session, actor, *args, **kwargs)

        guarded.roles = (Role.OPERATOR, *roles)  # type: ignore[attr-defined]  # read by openapi.py
        return guarded

    return guard


def known(*roles: Role) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let in whom `allowed` lets in, but in a moment of its own: before something that takes long.

    The view is given no session; the actor is `flask.g.actor`.
    """

    def guard(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            with database.session(Login.WEB) as session:
                g.actor = authenticate(session)
                g.actor.require(*roles)
            return view(*args, **kwargs)

        guarded.roles = (Role.OPERATOR, *roles)  # type: ignore[attr-defined]  # as above
        return guarded

    return guard


def authenticate(session: Session) -> Actor:
    """Say who asks, and let the session see their organizations.

    Raises:
        UnauthenticatedError: there is no bearer token, or it is unknown, revoked or over.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not 0 < len(token) <= LONGEST_TOKEN:
        raise UnauthenticatedError
    actor = tokens.authenticate(session, token)
    if actor is None:
        raise UnauthenticatedError
    session.execute(select(func.set_config("keypool.organization", actor.scope, True)))
    structlog.contextvars.bind_contextvars(actor=actor.name.partition(" (")[0])
    return actor
