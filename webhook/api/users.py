"""Users: people who sign in to the console."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http import nudging
from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import Taken, gives
from worker.database.paging import Page
from worker.tenancy import users
from worker.tenancy.actors import Actor, Role
from worker.tenancy.users import UserInvited, UserShape

blueprint = APIBlueprint("users", __name__, url_prefix="/api/v1/users", tag="Users")


class NewUser(Taken):
    """A new user and their role; an operator belongs to no organization."""

    email: str
    role: Role
    organization: str | None = None


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(users.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[users.Filters]) -> Page[UserShape]:
    """List the console's users, by default by address."""
    return users.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed(Role.MANAGER)
@gives(201)
@blueprint.input(NewUser, arg_name="body")
def invite(session: Session, actor: Actor, body: NewUser) -> UserInvited:
    """Invite a user, who chooses a password by a one-time link: mailed, or given only now."""
    return _sent(users.invite(session, actor=actor, **body.given()))


@blueprint.post("/<user>/reset")
@allowed(Role.MANAGER)
@gives()
def reset(session: Session, actor: Actor, user: str) -> UserInvited:
    """Let a user choose a new password by a one-time link: mailed, or given only now."""
    return _sent(users.reset(session, actor=actor, user=user))


@blueprint.post("/<user>/reset-second-factor")
@allowed(Role.MANAGER)
@gives()
def reset_second_factor(session: Session, actor: Actor, user: str) -> UserShape:
    """Remove a user's second factor, so that they set up another; they are told by mail."""
    nudging.after_commit("mail")
    return users.reset_second_factor(session, actor=actor, user=user)


@blueprint.post("/<user>/disable")
@allowed(Role.MANAGER)
@gives()
def disable(session: Session, actor: Actor, user: str) -> UserShape:
    """Disable a user; their sessions end at once. The tokens that they made go on: see `tokens`."""
    return users.disable(session, actor=actor, user=user)


@blueprint.post("/<user>/enable")
@allowed(Role.MANAGER)
@gives()
def enable(session: Session, actor: Actor, user: str) -> UserShape:
    """Let a disabled user sign in again."""
    return users.enable(session, actor=actor, user=user)


def _sent(made: UserInvited) -> UserInvited:
    """Have a link's mail sent soon, where the link is mailed."""
    if made["link"] is None:
        nudging.after_commit("mail")
    return made
