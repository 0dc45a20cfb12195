"""Who may call the API: bearer tokens, and the roles that each endpoint names."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from flask import Response, after_this_request, g, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webhook.http import parameters, preconditions, repeating, uploads
from webhook.http.problems import UnauthenticatedError
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import tokens
from worker.tenancy.actors import Actor, Role

P = ParamSpec("P")
R = TypeVar("R")
View = Callable[Concatenate[Session, Actor, P], ResponseReturnValue]

EVERYBODY = tuple(role for role in Role if role is not Role.OPERATOR)  # in an organization
STAFF = (Role.MANAGER, Role.FINANCE, Role.ANALYST)  # a sender is limited to a few routes
LONGEST_TOKEN = 200


def allowed(*roles: Role) -> Callable[[View[P]], Callable[P, Response]]:
    """Admit tokens of the operator and of the given roles; run the view in one transaction.

    The view gets the session, which sees only the token's organizations, and the actor. A POST with an
    Idempotency-Key is done once. Put it directly under the route, so that a request without a token is
    refused before it is validated.
    """

    def guard(view: View[P]) -> Callable[P, Response]:
        asked = parameters.checked(view)

        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Response:
            with connections.session(Login.WEB) as session:
                token_id, actor = authenticate(session)
                actor.require(*roles)
                act = partial(asked, session, actor, *args, **kwargs)
                return preconditions.answered(repeating.once(session, token_id, act))

        guarded.roles = (Role.OPERATOR, *roles)  # type: ignore[attr-defined]  # read by openapi.py
        return guarded

    return guard


def known(
    *roles: Role, finds: Callable[..., object] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Admit the same tokens as `allowed`, but in a short transaction of its own, for long requests.

    The view gets no session; the actor is `flask.g.actor`. `finds` finds what the route's parameters name,
    so that nobody sends a long body to what is not there for them; a short one is here already.
    """

    def guard(view: Callable[P, R]) -> Callable[P, R]:
        asked = parameters.checked(view)

        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            with connections.session(Login.WEB) as session:
                _, g.actor = authenticate(session)
                g.actor.require(*roles)
                if finds and uploads.is_long():
                    finds(session, actor=g.actor, **kwargs)
            return asked(*args, **kwargs)

        guarded.roles = (Role.OPERATOR, *roles)  # type: ignore[attr-defined]  # as above
        return guarded

    return guard


def authenticate(session: Session) -> tuple[int, Actor]:
    """Give the actor of the bearer token, and set the session's scope to the actor's organizations.

    Raises:
        UnauthenticatedError: there is no bearer token, or it is unknown, revoked or expired.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not 0 < len(token) <= LONGEST_TOKEN:
        raise UnauthenticatedError
    client = request.remote_addr or ""
    known = tokens.authenticate(session, token, client=client)
    if known is None:
        raise UnauthenticatedError
    if known.to_note:
        after_this_request(partial(_note, token, client))
    actor = known.actor
    structlog.contextvars.bind_contextvars(actor=actor.name.partition(" (")[0])
    return known.id, actor


def _note(token: str, client: str, response: Response) -> Response:
    # In a transaction of its own, because a long one would keep the row locked, and delay revoking it.
    with suppress(errors.DatabaseAwayError), connections.session(Login.WEB) as session:
        tokens.note(session, token, client=client)
    return response
