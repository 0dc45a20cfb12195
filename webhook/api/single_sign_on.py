"""Single sign-on: where an organization's users sign in."""

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.shapes import Taken, gives
from worker.tenancy import identity_providers
from worker.tenancy.actors import Actor, Role
from worker.tenancy.identity_providers import SingleSignOn

blueprint = APIBlueprint(
    "single_sign_on", __name__, url_prefix="/api/v1/organizations", tag="Organizations"
)


class NewSingleSignOn(Taken):
    """An identity provider; without a secret, the one that is known stays."""

    issuer: str
    client_id: str
    client_secret: str | None = None
    domains: list[str]
    role_claim: str = ""
    roles: dict[str, Role] = Field({})
    only: bool = False


@blueprint.get("/<organization>/single-sign-on")
@allowed(Role.MANAGER)
@gives()
def show(session: Session, actor: Actor, organization: str) -> SingleSignOn:
    """Show where an organization's users sign in."""
    return identity_providers.show(session, actor=actor, organization=organization)


@blueprint.post("/<organization>/single-sign-on")
@allowed()
@gives()
@blueprint.input(NewSingleSignOn, arg_name="body")
def save(session: Session, actor: Actor, organization: str, body: NewSingleSignOn) -> SingleSignOn:
    """Set where an organization's users sign in."""
    return identity_providers.save(session, actor=actor, organization=organization, **body.given())


@blueprint.post("/<organization>/single-sign-on/remove")
@allowed()
@gives()
def remove(session: Session, actor: Actor, organization: str) -> SingleSignOn:
    """End an organization's single sign-on; its users sign in with passwords."""
    return identity_providers.remove(session, actor=actor, organization=organization)
