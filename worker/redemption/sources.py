"""Sources: external systems that may post webhooks, and their signing secrets, kept encrypted."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, NamedTuple, Unpack

from sqlalchemy import select, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.filters import ListFilters, Sorts, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, paged
from worker.database.searching import spoken
from worker.tables.labels import SourceKind
from worker.tables.redemption import Source, SourceSecret
from worker.tables.tenancy import Organization
from worker.tenancy import history, organizations, secrets
from worker.tenancy.actors import Actor, Role


class SourceShape(TypedDict):
    """An external system that may post webhooks."""

    id: Id
    """The source's id."""
    name: str
    """What it is called."""
    organization: str
    """The organization whose learners it may name, by name."""
    kind: SourceKind
    """An external system, or the organization's redeem page, which has no secret."""
    url: str
    """The path that it posts to; of a redeem page, the page's."""


class SourceInClear(SourceShape):
    """A source with its new signing secret."""

    secret: str
    """The secret, shown this once."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which sources."""

    sorts: ClassVar[Sorts] = {"name": Source.name}
    sorting: ClassVar[str] = "name: from A to Z."

    search: str | None = by("Pieces of the name, in any order and letter case.", typed="search")
    organization: str | None = by("Those of this organization.")
    kind: SourceKind | None = by("Only external systems, or only redeem pages.")


ALL = Filters()


class SigningKey(NamedTuple):
    """Where a source posts, its newest secret, and the time by which signatures are judged."""

    path: str
    secret: bytes
    at: int


EXISTING = text("""
    SELECT id FROM unnest(CAST(:ids AS bigint[])) AS asked (id)
     WHERE EXISTS (SELECT FROM find_source(id))
""")


def add(session: Session, *, actor: Actor, name: str, organization: str) -> SourceInClear:
    """Add a source and give its signing secret in clear, this once."""
    actor.require(Role.MANAGER)
    owner = organizations.find(session, actor=actor, name=organization)
    source = Source(name=name.strip(), organization_id=owner.id)
    session.add(source)
    session.flush()
    history.remember(session, actor, "source added", source, name=source.name)
    return {
        **shape(source, owner),
        "secret": secrets.add(session, SourceSecret(source_id=source.id)),
    }


def rotate(
    session: Session, *, actor: Actor, source: str, old_valid: timedelta = timedelta(hours=24)
) -> SourceInClear:
    """Give a source a new secret; the old ones stay valid for `old_valid` at most.

    Raises:
        InvalidInputError: `old_valid` is negative.
        UnsignedSourceError: it is a redeem page.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, name=source)
    if found.kind is SourceKind.PAGE:
        raise errors.UnsignedSourceError
    secrets.end(session, SourceSecret, SourceSecret.source_id == found.id, old_valid=old_valid)
    history.remember(session, actor, "source secret rotated", found, name=found.name)
    return {
        **shape(found, session.get_one(Organization, found.organization_id)),
        "secret": secrets.add(session, SourceSecret(source_id=found.id)),
    }


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[SourceShape]:
    """List the sources of the actor's organizations, a page at a time; never their secrets."""
    actor.require(Role.MANAGER)
    statement = (
        select(Source)
        .add_columns(Organization)
        .join(Organization)
        .where(actor.sees(Source.organization_id), *spoken(filters.search, Source.name))
    )
    if filters.organization is not None:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        statement = statement.where(Source.organization_id == owner.id)
    if filters.kind is not None:
        statement = statement.where(Source.kind == filters.kind)
    return paged(
        session,
        statement,
        by=Source.id,
        shape=lambda row: shape(row.Source, row.Organization),
        sorts=Filters.sorts,
        **page,
    )


def show(session: Session, *, actor: Actor, source: str) -> SourceShape:
    """Give a source; never its secrets."""
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, name=source)
    return shape(found, session.get_one(Organization, found.organization_id))


def name(session: Session, *, source_id: int) -> str:
    """Give the name of a source that the session sees; its id where it sees none."""
    found = session.get(Source, source_id)
    return found.name if found else str(source_id)


def signing(session: Session, *, actor: Actor, source: str) -> SigningKey:
    """Give what signs a source's message now.

    Raises:
        UnsignedSourceError: it is a redeem page.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, name=source)
    _, live = live_secrets(session, source_id=found.id)
    if not live:
        raise errors.UnsignedSourceError
    at: int = session.execute(text("SELECT extract(epoch FROM now())::bigint")).scalar_one()
    return SigningKey(f"/webhooks/{found.id}", live[0], at)


def find(session: Session, *, actor: Actor, name: str) -> Source:
    """Find a source of the actor's organizations by name or id."""
    return lookup.find(
        session,
        Source,
        thing="source",
        name=name,
        named=Source.name,
        within=[actor.sees(Source.organization_id)],
    )


def existing(session: Session, *, source_ids: list[int]) -> set[int]:
    """Give which of some ids are those of sources that have a secret; of whom, it does not tell."""
    return set(session.scalars(EXISTING, {"ids": source_ids}))


def live_secrets(session: Session, *, source_id: int) -> tuple[int | None, list[bytes]]:
    """Give a source's organization and its live secrets, newest first; (None, []) if unknown.

    Works with the web's login before any tenancy is set, through the function find_source.
    """
    rows = session.execute(
        text("SELECT organization_id, encrypted FROM find_source(:id)"), {"id": source_id}
    ).all()
    return (rows[0].organization_id if rows else None), [
        secrets.decrypt(row.encrypted) for row in rows
    ]


def shape(source: Source, owner: Organization) -> SourceShape:
    """Give a source's public fields."""
    is_page = source.kind is SourceKind.PAGE
    return {
        "id": str(source.id),
        "name": source.name,
        "organization": owner.name,
        "kind": source.kind,
        "url": f"/redeem/{owner.slug}" if is_page else f"/webhooks/{source.id}",
    }
