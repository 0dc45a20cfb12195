"""Who may see a page: signed-in users, with the roles that the page names."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from flask import g
from flask_login import LoginManager, UserMixin, current_user
from sqlalchemy.orm import Session

from webhook.console import asking
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import sessions
from worker.tenancy.actors import Actor, Role
from worker.tenancy.sessions import Signed

P = ParamSpec("P")
R = TypeVar("R")

READERS = (Role.MANAGER, Role.ANALYST)

manager = LoginManager()


class SignedOutError(errors.KeypoolError):
    """Sign in first."""


class SecondFactorError(errors.KeypoolError):
    """Give your second factor first."""


class Visitor(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """A signed-in user, for Flask-Login."""

    def __init__(self, cookie: str, signed: Signed) -> None:
        self.id = cookie  # what Flask-Login keeps in the cookie
        self.signed = signed
        self.user_id = signed.user_id
        self.actor = signed.actor

    @property
    def is_authenticated(self) -> bool:
        """Whether the session lacks no second factor."""
        return self.signed.lacks is None


@manager.user_loader  # type: ignore[untyped-decorator]  # as above
def load(cookie: str) -> Visitor | None:
    """Find the user of a session cookie; None if the session is over."""
    with connections.session(Login.WEB) as session:
        signed = sessions.resume(session, cookie)
    return Visitor(cookie, signed) if signed else None


def page(
    *roles: Role, on: str | None = None, confirmed: bool = False
) -> Callable[[Callable[Concatenate[Session, Actor, P], R]], Callable[P, R]]:
    """Admit users of the operator and of the given roles; run the view in one transaction.

    The view gets the session, which sees only the visitor's organizations, and the actor. A view that
    handles a form names the page that the form is on. One that is `confirmed` has the password asked
    for again, unless that was done a short while ago.
    """

    def guard(view: Callable[Concatenate[Session, Actor, P], R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            who = visitor()
            actor = who.actor
            actor.require(*roles)
            if confirmed:
                asking.require(who.signed, who.id)
            with connections.session(Login.WEB, sees=actor.scope) as session:
                g.session, g.actor = session, actor
                return view(session, actor, *args, **kwargs)

        guarded.roles = (Role.OPERATOR, *roles)  # type: ignore[attr-defined]  # read by words.py
        guarded.on = on  # type: ignore[attr-defined]  # read by frame.py
        guarded.confirmed = confirmed  # type: ignore[attr-defined]  # read by tests
        return guarded

    return guard


def known(
    *roles: Role, on: str | None = None
) -> Callable[[Callable[Concatenate[Actor, P], R]], Callable[P, R]]:
    """Admit the same users as `page`, without a transaction, for long requests."""

    def guard(view: Callable[Concatenate[Actor, P], R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            visitor().actor.require(*roles)
            return view(visitor().actor, *args, **kwargs)

        guarded.roles = (Role.OPERATOR, *roles)  # type: ignore[attr-defined]  # as above
        guarded.on = on  # type: ignore[attr-defined]  # as above
        return guarded

    return guard


def begun() -> Visitor | None:
    """Give whose session this browser has, also before their second factor is given; None if it has none."""
    who = current_user._get_current_object()
    return who if isinstance(who, Visitor) else None


def visitor() -> Visitor:
    """Give the signed-in user.

    Raises:
        SignedOutError: nobody is signed in.
        SecondFactorError: a second factor is asked for.
    """
    who = begun()
    if who is None:
        raise SignedOutError
    if not who.is_authenticated:
        raise SecondFactorError
    structlog.contextvars.bind_contextvars(actor=f"user {who.user_id}")
    return who
