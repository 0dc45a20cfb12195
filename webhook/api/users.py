"""Users: people who sign in to the console."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.shapes import Taken, gives, whole
from worker.database.paging import Page
from worker.tenancy import users
from worker.tenancy.actors import Actor, Role
from worker.tenancy.users import UserShape

blueprint = APIBlueprint("users", __name__, url_prefix="/api/v1/users", tag="Users")


class NewPassword(Taken):
    """A password of at least 12 characters."""

    password: str


class NewUser(NewPassword):
    """A new user and their role; an operator belongs to no organization."""

    email: str
    role: Role
    organization: str | None = None


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
def listing(session: Session, actor: Actor) -> Page[UserShape]:
    """List the console's users, by address."""
    return whole(users.listing(session, actor=actor))


@blueprint.post("")
@allowed(Role.MANAGER)
@gives(201)
@blueprint.input(NewUser, arg_name="body")
def add(session: Session, actor: Actor, body: NewUser) -> UserShape:
    """Add a user of the console."""
    return users.add(session, actor=actor, **body.given())


@blueprint.post("/<user>/password")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(NewPassword, arg_name="body")
def renew_password(session: Session, actor: Actor, user: str, body: NewPassword) -> UserShape:
    """Give a user a new password; all their sessions end."""
    return users.set_password(session, actor=actor, user=user, password=body.password)


@blueprint.post("/<user>/disable")
@allowed(Role.MANAGER)
@gives()
def disable(session: Session, actor: Actor, user: str) -> UserShape:
    """Disable a user; their sessions end at once."""
    return users.disable(session, actor=actor, user=user)
