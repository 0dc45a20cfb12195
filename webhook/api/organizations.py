"""Organizations."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import EVERYBODY, STAFF, allowed
from webhook.http.preconditions import versioned
from webhook.http.shapes import gives, whole
from worker.database.paging import Page
from worker.tables.tenancy import Organization
from worker.tenancy import organizations
from worker.tenancy.actors import Actor
from worker.tenancy.organizations import OrganizationShape, OrganizationShown

blueprint = APIBlueprint(
    "organizations", __name__, url_prefix="/api/v1/organizations", tag="Organizations"
)


@blueprint.get("")
@allowed(*EVERYBODY)
@gives()
def listing(session: Session, actor: Actor) -> Page[OrganizationShape]:
    """List organizations by name."""
    return whole(organizations.listing(session, actor=actor))


@blueprint.post("")
@allowed()
@gives(201)
@blueprint.input(shapes.NewOrganization, arg_name="body")
def add(session: Session, actor: Actor, body: shapes.NewOrganization) -> OrganizationShape:
    """Add an organization."""
    return organizations.add(session, actor=actor, **body.given())


@blueprint.get("/<organization>")
@allowed(*STAFF)
@versioned(organizations.find, organization="name")
@gives()
def show(session: Session, actor: Actor, organization: Organization) -> OrganizationShown:
    """Show an organization with what its invoices print, and its tax rates."""
    return organizations.show(session, actor=actor, organization=organization)


@blueprint.patch("/<organization>")
@allowed()
@versioned(organizations.find, organization="name")
@gives()
@blueprint.input(shapes.OrganizationChanges, arg_name="body")
def edit(
    session: Session, actor: Actor, organization: Organization, body: shapes.OrganizationChanges
) -> OrganizationShape:
    """Change what is given of an organization."""
    return organizations.edit(session, actor=actor, organization=organization, **body.given())
