"""Who may see a page: people who signed in, and the roles that each page names."""

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
EVERYBODY = (Role.MANAGER, Role.FINANCE, Role.ANALYST, Role.SENDER)

manager = LoginManager()


class SignedOutError(errors.KeypoolError):
    """Sign in first."""


class Visitor(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """Somebody who signed in, as Flask-Login knows them."""

    def __init__(self, session_id: str, user_id: int, actor: Actor) -> None:
        self.id = session_id
        self.user_id = user_id
        self.actor = actor


@manager.user_loader  # type: ignore[untyped-decorator]  # as above
def load(session_id: str) -> Visitor | None:
    """Find whose session a cookie carries; None where it is over."""
    with connections.session(Login.WEB) as session:
        found = users.resume(session, session_id=session_id)
    return Visitor(session_id, *found) if found else None


def page(
    *roles: Role, on: str | None = None
) -> Callable[[Callable[Concatenate[Session, Actor, P], R]], Callable[P, R]]:
    """Let the operator's people in and those of the given roles, in one transaction.

    The view is given the session, which sees the visitor's organizations alone, and the actor. An
    act, which a form asks for, names the page that the form stands on.
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
    """Let in whom `page` lets in, without a transaction: before something that takes long."""

    def guard(view: Callable[Concatenate[Actor, P], R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            visitor().actor.require(*roles)
            return view(visitor().actor, *args, **kwargs)

        guarded.roles = (Role.OPERATOR, *roles)  # type: ignore[attr-defined]  # as above
        return guarded

    return guard


def visitor() -> Any:
    """Give who signed in.

    Raises:
        SignedOutError: nobody did.
    """
    if not current_user.is_authenticated:
        raise SignedOutError
    structlog.contextvars.bind_contextvars(actor=f"user {current_user.user_id}")
    return current_user
