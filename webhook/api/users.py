"""Users: people who sign in to the console."""

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import allowed
from webhook.http.shapes import whole
from worker.tenancy import users
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("users", __name__, url_prefix="/api/v1/users", tag="Users")


@blueprint.get("")
@allowed(Role.MANAGER)
@blueprint.output(shapes.Users)
def listing(session: Session, actor: Actor) -> Any:
    """List the console's users by address."""
    return vars(whole(users.listing(session, actor=actor)))


@blueprint.post("")
@allowed(Role.MANAGER)
@blueprint.output(shapes.User, status_code=201)
@blueprint.input(shapes.NewUser, arg_name="body")
def add(session: Session, actor: Actor, body: shapes.NewUser) -> Any:
    """Let somebody sign in to the console."""
    return users.add(session, actor=actor, **body.given())


@blueprint.post("/<user>/password")
@allowed(Role.MANAGER)
@blueprint.output(shapes.User)
@blueprint.input(shapes.NewPassword, arg_name="body")
def renew_password(session: Session, actor: Actor, user: str, body: shapes.NewPassword) -> Any:
    """Give a user a new password; every session of theirs is over."""
    return users.set_password(session, actor=actor, user=user, password=body.password)


@blueprint.post("/<user>/disable")
@allowed(Role.MANAGER)
@blueprint.output(shapes.User)
def disable(session: Session, actor: Actor, user: str) -> Any:
    """Let a user in no more; their sessions are over at once."""
    return users.disable(session, actor=actor, user=user)
