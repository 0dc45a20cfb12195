"""Users: people who sign in to the console."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import allowed
from webhook.http.shapes import gives, whole
from worker.database.paging import Page
from worker.tenancy import users
from worker.tenancy.actors import Actor, Role
from worker.tenancy.users import UserShape

blueprint = APIBlueprint("users", __name__, url_prefix="/api/v1/users", tag="Users")


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
def listing(session: Session, actor: Actor) -> Page[UserShape]:
    """List the console's users by address."""
    return whole(users.listing(session, actor=actor))


@blueprint.post("")
@allowed(Role.MANAGER)
@gives(201)
@blueprint.input(shapes.NewUser, arg_name="body")
def add(session: Session, actor: Actor, body: shapes.NewUser) -> UserShape:
    """Let somebody sign in to the console."""
    return users.add(session, actor=actor, **body.given())


@blueprint.post("/<user>/password")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(shapes.NewPassword, arg_name="body")
def renew_password(
    session: Session, actor: Actor, user: str, body: shapes.NewPassword
) -> UserShape:
    """Give a user a new password; every session of theirs is over."""
    return users.set_password(session, actor=actor, user=user, password=body.password)


@blueprint.post("/<user>/disable")
@allowed(Role.MANAGER)
@gives()
def disable(session: Session, actor: Actor, user: str) -> UserShape:
    """Let a user in no more; their sessions are over at once."""
    return users.disable(session, actor=actor, user=user)
