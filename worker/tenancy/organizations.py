"""Organizations: tenants, in a tree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased
from sqlalchemy.orm.attributes import flag_modified
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup, zones
from worker.database.filters import ListFilters, Sorts, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.database.searching import spoken
from worker.settings import settings
from worker.tables.labels import RedeemPage
from worker.tables.tenancy import Organization
from worker.tenancy import currencies, history, logos, pages, parties, taxes
from worker.tenancy.actors import Actor, Role
from worker.tenancy.taxes import TaxRateShape


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which organizations."""

    sorts: ClassVar[Sorts] = {"name": Organization.name}
    sorting: ClassVar[str] = "name: from A to Z, as it is unless another is asked for."

    search: str | None = by("Pieces of the name, in any order and letter case.", typed="search")
    parent: str | None = by("Those right below this one.")


ALL = Filters()
LOGO = "/api/v1/organizations/{}/logo.png"


class OrganizationShape(TypedDict):
    """A tenant."""

    id: Id
    """The organization's id."""
    name: str
    """The name; unique in the system."""
    parent: str | None
    """The organization above it."""
    time_zone: str
    """The time zone of its dates, as an IANA name."""
    currency: str
    """The default currency of its prices, as an ISO 4217 code."""
    redeem_url: str | None
    """The address of its redeem page; or null where there is none."""


class OrganizationShown(OrganizationShape):
    """A tenant with its invoice details."""

    locale: str
    """The language of its invoices and of its learners, such as `de` or `fr-CH`."""
    legal_name: str
    """Its name on invoices."""
    address: str
    """Its address on invoices, in lines, where it has no street, postcode, city and country."""
    tax_id: str
    """Its tax number on invoices."""
    street: str
    """Street and number on its invoices, in one line or more."""
    postcode: str
    """The postal code."""
    city: str
    """The town."""
    country: str
    """The country, by its code of ISO 3166; or empty."""
    electronic_address: str
    """Where it takes e-invoices: a scheme of EN 16931 and the address in it."""
    buyer_reference: str
    """What it wants its invoices to quote, such as a Leitweg-ID."""
    purchase_order: str
    """Its order, which its invoices quote."""
    billing_email: str
    """Where its invoices are sent."""
    sender_name: str
    """Under which name its mails come; empty: its own."""
    reply_to: str
    """Where answers to its mails go."""
    colour: str
    """The colour of its mails, such as `#0b5fa5`."""
    logo: str | None
    """Where the API gives its logo, on top of its mails and its redeem page; or null."""
    slug: str
    """Its name in the address of its redeem page, `/redeem/{slug}`; unique in the system."""
    redeem_page: RedeemPage
    """Whether it has a redeem page: `off`; `proof`, where a code by mail proves an address; or `open`,
    where nobody proves one, and whoever has a key redeems it for any address that they type."""
    redeem_domains: list[str]
    """The domains of the addresses for which its page redeems keys; empty: any."""
    redeem_languages: list[str]
    """The languages of its page; empty: all."""
    redeem_text: str
    """What its page says above the form, in its own words."""
    support_email: str
    """Where its page sends people who need help."""
    second_factor: bool
    """Whether its users, and those of the organizations below it, need a second factor."""
    payment_terms_days: int
    """Its payment terms in days."""
    tax_rates: list[TaxRateShape]
    """The tax on its invoices, oldest first."""


def add(
    session: Session,
    *,
    actor: Actor,
    name: str,
    parent: str | None = None,
    time_zone: str = "UTC",
    currency: str = "EUR",
    tax_rate: str | None = None,
) -> OrganizationShape:
    """Add an organization; only the operator may.

    Raises:
        AlreadyExistsError: the name is taken.
        InvalidInputError: the time zone or currency is unknown, or the tax rate is malformed.
        NotFoundError: there is no such parent.
    """
    actor.require()
    above = find(session, actor=actor, name=parent) if parent else None
    organization = Organization(
        name=name.strip(),
        parent_id=above and above.id,
        time_zone=zones.check(session.connection(), time_zone),
        currency=currencies.find(session, currency).code,
    )
    session.add(organization)
    session.flush()
    if tax_rate is not None:
        taxes.set_first(session, organization, percent=tax_rate)
    _remember(session, actor, "organization added", organization, name=organization.name)
    return shape(organization, above.name if above else None)


def edit(
    session: Session,
    /,
    *,
    actor: Actor,
    organization: str | Organization,
    tax_rate: str | None = None,
    tax_label: str | None = None,
    tax_category: str | None = None,
    tax_exemption: str | None = None,
    tax_from: str | None = None,
    parent: str | None = None,
    no_parent: bool = False,
    currency: str | None = None,
    time_zone: str | None = None,
    logo: bytes | None = None,
    **changes: str | int | Sequence[str] | None,
) -> OrganizationShape:
    """Change the given fields of an organization: name, locale, legal_name, address, …

    With `no_parent` it is a root. An empty logo removes it. A tax rate holds from a day on, as
    `taxes.set_rate` says.

    Raises:
        InvalidInputError: the currency, country, time zone, electronic or e-mail address, tax number, tax
            rate or its day, or a setting of the redeem page is invalid; or a parent and `no_parent`
            are both given.
        TaxRateInThePastError: something was charged on the rate's days already.
        CircularParentError: the new parent is the organization itself or one of its descendants.
    """
    actor.require()
    found = find(session, actor=actor, name=organization, lock=True)
    fields = _read(session, found, changes, currency=currency, time_zone=time_zone)
    fields |= _place(session, actor, parent, no_parent)
    for field, value in fields.items():
        setattr(found, field, value)
    flag_modified(found, "name")  # a new version, even if only a tax rate (another table) changed
    if logo is not None:
        logos.put(session, organization_id=found.id, content=logo)
    session.flush()
    session.expire(found, ["slug"])  # one that was emptied is made from the name
    taxes.set_rate(
        session,
        found,
        percent=tax_rate,
        label=tax_label,
        category=tax_category,
        exemption=tax_exemption,
        from_=tax_from,
    )
    _remember(
        session,
        actor,
        "organization edited",
        found,
        **fields,
        tax_rate=tax_rate,
        tax_label=tax_label,
        tax_category=tax_category,
        tax_exemption=tax_exemption,
        tax_from=tax_from,
        no_parent=no_parent or None,
        logo=None if logo is None else "given" if logo else "removed",
    )
    return shape(found, _parent_name(session, found))


def _read(
    session: Session,
    organization: Organization,
    changes: Mapping[str, str | int | Sequence[str] | None],
    *,
    currency: str | None,
    time_zone: str | None,
) -> dict[str, Any]:
    """Read the fields that are given, each in its one form."""
    fields: dict[str, Any] = {field: value for field, value in changes.items() if value is not None}
    fields |= parties.checked(
        {field: value for field, value in fields.items() if isinstance(value, str)}
    )
    fields |= pages.checked(fields)
    if currency:
        fields["currency"] = currencies.find(session, currency).code
    if time_zone and time_zone != organization.time_zone:
        fields["time_zone"] = zones.check(session.connection(), time_zone)
    if fields.get("tax_id") and fields["tax_id"] != organization.tax_id:
        fields["tax_id"] = taxes.taxpayer(str(fields["tax_id"]), field="tax_id")
    return fields


def _place(
    session: Session, actor: Actor, parent: str | None, no_parent: bool
) -> dict[str, int | None]:
    if parent is not None and no_parent:
        raise errors.InvalidInputError("Give a parent, or say that it has none.", field="parent")
    if parent is not None:
        return {"parent_id": find(session, actor=actor, name=parent).id}
    return {"parent_id": None} if no_parent else {}


def show(session: Session, *, actor: Actor, organization: str | Organization) -> OrganizationShown:
    """Give an organization with its invoice details and its tax rates, oldest first."""
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    found = find(session, actor=actor, name=organization)
    return {
        **shape(found, _parent_name(session, found)),
        "locale": found.locale,
        "legal_name": found.legal_name,
        "address": found.address,
        "tax_id": found.tax_id,
        "street": found.street,
        "postcode": found.postcode,
        "city": found.city,
        "country": found.country,
        "electronic_address": found.electronic_address,
        "buyer_reference": found.buyer_reference,
        "purchase_order": found.purchase_order,
        "billing_email": found.billing_email,
        "sender_name": found.sender_name,
        "reply_to": found.reply_to,
        "colour": found.colour,
        "logo": LOGO.format(found.id)
        if logos.is_there(session, organization_id=found.id)
        else None,
        "slug": found.slug,
        "redeem_page": found.redeem_page,
        "redeem_domains": found.redeem_domains,
        "redeem_languages": found.redeem_languages,
        "redeem_text": found.redeem_text,
        "support_email": found.support_email,
        "second_factor": found.second_factor,
        "payment_terms_days": found.payment_terms_days,
        "tax_rates": taxes.rates(session, found),
    }


def logo(session: Session, *, actor: Actor, organization: str) -> bytes:
    """Give an organization's logo, a PNG.

    Raises:
        NotFoundError: it has none.
    """
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    found = find(session, actor=actor, name=organization)
    picture = logos.of(session, organization_id=found.id)
    if picture is None:
        raise errors.NotFoundError("The organization has no logo.")
    return picture.content


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[OrganizationShape]:
    """List the actor's organizations, by default by name, a page at a time."""
    statement = _rows(actor).where(*spoken(filters.search, Organization.name))
    if filters.parent is not None:
        above = find(session, actor=actor, name=filters.parent)
        statement = statement.where(Organization.parent_id == above.id)
    page["sort"] = page.get("sort") or "name"
    return paged(session, statement, by=Organization.id, shape=_shape, sorts=Filters.sorts, **page)


def in_sight(session: Session, *, actor: Actor) -> list[OrganizationShape]:
    """Give all of the actor's organizations by name, to choose from."""
    return [_shape(row) for row in session.execute(_rows(actor).order_by(Organization.name))]


def find(
    session: Session, *, actor: Actor, name: str | Organization, lock: bool = False
) -> Organization:
    """Find one of the actor's organizations by name or id, or raise NotFoundError.

    It also takes an organization that was found before, and `lock`, as `lookup.find` does.
    """
    return lookup.find(
        session,
        Organization,
        thing="organization",
        name=name,
        named=Organization.name,
        within=[actor.sees(Organization.id)],
        lock=lock,
    )


def _rows(actor: Actor) -> Select[Any]:
    parent = aliased(Organization)
    return (
        select(Organization)
        .add_columns(parent.name.label("above"))
        .join(parent, parent.id == Organization.parent_id, isouter=True)
        .where(actor.sees(Organization.id))
    )


def _shape(row: Selected) -> OrganizationShape:
    return shape(row.Organization, row.above)


def shape(organization: Organization, parent: str | None) -> OrganizationShape:
    """Give an organization's public fields; `parent` is a name or None."""
    return {
        "id": str(organization.id),
        "name": organization.name,
        "parent": parent,
        "time_zone": organization.time_zone,
        "currency": organization.currency,
        "redeem_url": _page_url(organization),
    }


def _page_url(organization: Organization) -> str | None:
    if organization.redeem_page is RedeemPage.OFF:
        return None
    return settings().web_url(f"/redeem/{organization.slug}")


def _parent_name(session: Session, organization: Organization) -> str | None:
    parent = organization.parent_id and session.get(Organization, organization.parent_id)
    return parent.name if parent else None


def _remember(
    session: Session, actor: Actor, action: str, organization: Organization, **detail: object
) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="organization",
        thing_ids=organization.id,
        organization_id=organization.id,
        **{field: value for field, value in detail.items() if value is not None},
    )
