"""Organizations."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response, g
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http import files
from webhook.http.access import EVERYBODY, STAFF, allowed, known
from webhook.http.openapi import describe
from webhook.http.preconditions import versioned
from webhook.http.queries import Query, query
from webhook.http.shapes import (
    Changes,
    Clearable,
    Emptiable,
    Encoded,
    Paging,
    Taken,
    gives,
    left_out,
    whole,
)
from worker.billing import statements
from worker.billing.statements import Statement
from worker.database.paging import Page
from worker.pools import shared
from worker.pools.shared import SharedPool, SharedRedemption
from worker.tables.labels import RedeemPage
from worker.tables.tenancy import Organization
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role
from worker.tenancy.organizations import OrganizationShape, OrganizationShown

blueprint = APIBlueprint(
    "organizations", __name__, url_prefix="/api/v1/organizations", tag="Organizations"
)


class NewOrganization(Taken):
    """A new organization."""

    name: str
    parent: str | None = None
    time_zone: str = "UTC"
    currency: str = "EUR"
    tax_rate: str | None = None


class OnDay(Taken):
    """As of which day: by default today, in the seller's time zone."""

    on: str | None = Field(None, max_length=10)


class OrganizationChanges(Changes):
    """Changes of an organization; with a null parent it becomes a root."""

    name: str = left_out()
    parent: str | None = None
    time_zone: str = left_out()
    currency: str = left_out()
    tax_rate: str = left_out()
    tax_label: str = left_out()
    tax_category: str = left_out()
    tax_exemption: str = left_out()
    tax_from: str = left_out()
    locale: str = left_out()
    legal_name: Clearable = None
    address: Clearable = None
    tax_id: Clearable = None
    street: Clearable = None
    postcode: Clearable = None
    city: Clearable = None
    country: Clearable = None
    electronic_address: Clearable = None
    buyer_reference: Clearable = None
    purchase_order: Clearable = None
    billing_email: Clearable = None
    sender_name: Clearable = None
    reply_to: Clearable = None
    colour: Clearable = None
    logo: Encoded = None
    slug: str = left_out()
    redeem_page: RedeemPage = left_out()
    redeem_domains: Emptiable = None
    redeem_languages: Emptiable = None
    redeem_text: Clearable = None
    support_email: Clearable = None
    second_factor: bool = left_out()
    payment_terms_days: int = left_out()

    def given(self, **names: str) -> dict[str, Any]:
        """Give the sent fields; a null parent becomes `no_parent`."""
        sent = super().given(**names)
        return {"no_parent": True, **sent} if sent.get("parent", "") is None else sent


@blueprint.get("")
@allowed(*EVERYBODY)
@gives()
@blueprint.input(query(organizations.Filters), location="query", arg_name="query")
def listing(
    session: Session, actor: Actor, query: Query[organizations.Filters]
) -> Page[OrganizationShape]:
    """List organizations, by default by name."""
    return organizations.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed()
@gives(201)
@blueprint.input(NewOrganization, arg_name="body")
def add(session: Session, actor: Actor, body: NewOrganization) -> OrganizationShape:
    """Add an organization."""
    return organizations.add(session, actor=actor, **body.given())


@blueprint.get("/<organization>")
@allowed(*STAFF)
@versioned(organizations.find, organization="name")
@gives()
def show(session: Session, actor: Actor, organization: Organization) -> OrganizationShown:
    """Show an organization with its invoice details and tax rates."""
    return organizations.show(session, actor=actor, organization=organization)


@blueprint.get("/<organization>/logo.png")
@describe(only="image/png")
@allowed(*STAFF)
def logo(session: Session, actor: Actor, organization: str) -> Response:
    """Give an organization's logo."""
    return files.picture(organizations.logo(session, actor=actor, organization=organization))


@blueprint.get("/<organization>/shared-pools")
@allowed(Role.MANAGER, Role.ANALYST)
@gives()
def shared_pools(session: Session, actor: Actor, organization: str) -> Page[SharedPool]:
    """List the pools that are shared with an organization by those above it."""
    return whole(shared.listing(session, actor=actor, organization=organization))


@blueprint.get("/<organization>/shared-pools/<pool>/redemptions")
@allowed(Role.MANAGER, Role.ANALYST)
@gives()
@blueprint.input(Paging, location="query", arg_name="query")
def shared_redemptions(
    session: Session, actor: Actor, organization: str, pool: str, query: Paging
) -> Page[SharedRedemption]:
    """List what an organization's own learners redeemed of such a pool, with their keys."""
    return shared.redemptions(
        session, actor=actor, organization=organization, pool=pool, **query.page()
    )


@blueprint.get("/<organization>/statement")
@allowed(Role.FINANCE, Role.ANALYST)
@gives()
@blueprint.input(OnDay, location="query", arg_name="query")
def statement(session: Session, actor: Actor, organization: str, query: OnDay) -> Statement:
    """Say what an organization has open, and for how long it is overdue."""
    return statements.of(session, actor=actor, organization=organization, on=query.on)


@blueprint.get("/<organization>/statement.csv")
@describe(only="text/csv")
@known(Role.FINANCE, Role.ANALYST)
@blueprint.input(OnDay, location="query", arg_name="query")
def statement_csv(organization: str, query: OnDay) -> Response:
    """Give a statement's documents as a table."""
    return files.statement(actor=g.actor, organization=organization, on=query.on, format="csv")


@blueprint.get("/<organization>/statement.pdf")
@describe(only="application/pdf")
@known(Role.FINANCE, Role.ANALYST)
@blueprint.input(OnDay, location="query", arg_name="query")
def statement_pdf(organization: str, query: OnDay) -> Response:
    """Give a statement as PDF, in the organization's language."""
    return files.statement(actor=g.actor, organization=organization, on=query.on, format="pdf")


@blueprint.patch("/<organization>")
@allowed()
@versioned(organizations.find, organization="name")
@gives()
@blueprint.input(OrganizationChanges, arg_name="body")
def edit(
    session: Session, actor: Actor, organization: Organization, body: OrganizationChanges
) -> OrganizationShape:
    """Change an organization."""
    return organizations.edit(session, actor=actor, organization=organization, **body.given())
