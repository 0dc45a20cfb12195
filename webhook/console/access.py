"""Who may see a page: signed-in users, with the roles that the page names."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import structlog
from flask import g
from flask_login import LoginManager, UserMixin, current_user
from sqlalchemy.orm import Session

from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import users
from worker.tenancy.actors import Actor, Role

P = ParamSpec("P")
R = TypeVar("R")

READERS = (Role.MANAGER, Role.ANALYST)

manager = LoginManager()


class SignedOutError(errors.KeypoolError):
    """Sign in first."""


class Visitor(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """A signed-in user, for Flask-Login."""

    def __init__(self, session_id: str, user_id: int, actor: Actor) -> None:
        self.id = session_id
        self.user_id = user_id
        self.actor = actor


@manager.user_loader  # type: ignore[untyped-decorator]  # as above
def load(session_id: str) -> Visitor | None:
    """Find the user of a session cookie; None if the session is over."""
    with connections.session(Login.WEB) as session:
        resumed = users.resume(session, session_id=session_id)
    return Visitor(session_id, *resumed) if resumed else None


def page(
    *roles: Role, on: str | None = None
) -> Callable[[Callable[Concatenate[Session, Actor, P], R]], Callable[P, R]]:
    """Admit users of the operator and of the given roles; run the view in one transaction.

    The view gets the session, which sees only the visitor's organizations, and the actor. A view that
    handles a form names the page that the form is on.
    """

    def guard(view: Callable[Concatenate[Session, Actor, P], R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            actor = visitor().actor
            actor.require(*roles)
            with connections.session(Login.WEB, sees=actor.scope) as session:
                g.session, g.actor = session, actor
                return view(session, actor, *args, **kwargs)

        guarded.roles = (Role.OPERATOR, *roles)  # type: ignore[attr-defined]  # read by words.py
        guarded.on = on  # type: ignore[attr-defined]  # read by frame.py
        return guarded

    return guard


def known(*roles: Role) -> Callable[[Callable[Concatenate[Actor, P], R]], Callable[P, R]]:
    """Admit the same users as `page`, without a transaction, for long requests."""

    def guard(view: Callable[Concatenate[Actor, P], R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            visitor().actor.require(*roles)
            return view(visitor().actor, *args, **kwargs)

        guarded.roles = (Role.OPERATOR, *roles)  # type: ignore[attr-defined]  # as above
        return guarded

    return guard


def visitor() -> Any:
    """Give the signed-in user.

    Raises:
        SignedOutError: nobody is signed in.
    """
    if not current_user.is_authenticated:
        raise SignedOutError
    structlog.contextvars.bind_contextvars(actor=f"user {current_user.user_id}")
    return current_user
