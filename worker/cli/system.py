"""The system that a command works on, and the actor."""

import getpass
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from worker.cli.frame import deferred
from worker.errors import RefusedError

with deferred():
    from worker import logs
    from worker import settings as environment
    from worker.database import connections, revisions, schema
    from worker.machine import embedded
    from worker.tenancy import actors, web_keys

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

P = ParamSpec("P")
T = TypeVar("T")


@cache
def operator() -> "actors.Actor":
    """Give the operator as an actor, with the name of the machine's user."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # the user id has no name, as in some containers
        name = f"user {os.getuid()}"
    return actors.Actor.operator(f"command line ({name})")


def quieten(*, ours: int = logging.WARNING) -> None:
    """Log only warnings, to standard error: standard output is for results."""
    if not logs.is_configured():
        logs.configure(ours=ours, others=logging.WARNING)


@contextmanager
def servers() -> Iterator[None]:
    """Hold the database and the broker: those of the environment, else the home's own."""
    known = environment.settings()
    quieten()
    if known.database_url:
        yield
        return
    with embedded.lease(known.home):
        try:
            yield
        finally:
            connections.dispose()


@contextmanager
def system() -> Iterator[None]:
    """Hold the servers, and require a fitting database; the home's own is initialised if it is empty."""
    with servers(), _refusing_plainly():
        try:
            connections.transaction(revisions.require)
        except revisions.NotMadeError:
            if environment.settings().database_url:
                raise
            schema.init(connections.engine(connections.Login.DIRECT))
            connections.transaction(web_keys.tell)
        yield


def run(function: "Callable[Concatenate[Session, P], T]", *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function of the domain on the system, in one transaction with the owner's login."""
    with system(), connections.session() as session:
        return function(session, *args, **kwargs)


@contextmanager
def _refusing_plainly() -> Iterator[None]:
    from sqlalchemy.exc import IntegrityError

    try:
        yield
    except IntegrityError as error:
        rule = getattr(error.orig, "diag", None)
        raise RefusedError(f"A rule says no: {rule and rule.constraint_name}.") from error
