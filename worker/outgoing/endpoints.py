"""Endpoints: the URLs that get an organization's outgoing webhooks, and the secrets that sign them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Unpack

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup, paging
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, paged
from worker.database.searching import spoken
from worker.outgoing import posting
from worker.settings import settings
from worker.tables.labels import DeliveryState, DeliveryType
from worker.tables.outgoing import Delivery, Endpoint, EndpointSecret
from worker.tables.tenancy import Organization
from worker.tenancy import history, organizations, secrets
from worker.tenancy.actors import Actor, Role


class EndpointShape(TypedDict):
    """A URL to which an organization's events are posted."""

    id: Id
    """The endpoint's id."""
    url: str
    """The URL."""
    organization: str
    """The organization, by name: its events are posted, and those of its descendants."""
    types: list[DeliveryType]
    """The types of events that are posted."""
    pool_low: int
    """A pool is low if it has fewer undistributed keys than this."""
    pool_expiring_days: int
    """A pool expires soon this many days before its end."""
    created_at: datetime
    """When it was registered."""
    removed_at: datetime | None
    """When it was removed."""
    failures: int
    """How many attempts failed in a row."""
    rests_until: datetime | None
    """Until when it rests after failures (circuit breaker), or as its Retry-After asked."""
    paused_at: datetime | None
    """Since when it is told nothing, until it is resumed; null if it is not paused."""
    paused_because: str | None
    """Why, if it was not a person who paused it: it answered that it is gone (410)."""


class EndpointInClear(EndpointShape):
    """An endpoint with its new signing secret."""

    secret: str
    """The secret, shown this once."""


REMOVED = "The endpoint was removed."


def add(
    session: Session,
    *,
    actor: Actor,
    url: str,
    organization: str,
    types: Sequence[str] | None = None,
    pool_low: int | None = None,
    pool_expiring_days: int | None = None,
) -> EndpointInClear:
    """Register an endpoint and give its signing secret in clear, this once.

    It gets the events of the organization and its descendants, of the given types or of all.

    Raises:
        AlreadyExistsError: the organization has an endpoint with that URL.
        InvalidInputError: the URL is malformed or not public; a type is unknown; a number is out
            of range.
    """
    actor.require(Role.MANAGER)
    owner = organizations.find(session, actor=actor, name=organization)
    endpoint = Endpoint(
        organization_id=owner.id,
        url=posting.read_url(url, private=settings().private_endpoints),
        types=_types(types),
    )
    _set_alarms(endpoint, pool_low, pool_expiring_days)
    session.add(endpoint)
    session.flush()
    history.remember(session, actor, "endpoint added", endpoint, url=endpoint.url)
    secret = secrets.add(session, EndpointSecret(endpoint_id=endpoint.id))
    return {**_told(session, endpoint), "secret": secret}


def edit(
    session: Session,
    *,
    actor: Actor,
    endpoint: str | Endpoint,
    url: str | None = None,
    types: Sequence[str] | None = None,
    pool_low: int | None = None,
    pool_expiring_days: int | None = None,
) -> EndpointShape:
    """Change an endpoint's URL, its types, and its thresholds for a pool that is low or expires soon.

    Raises:
        As `add` does.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, name=endpoint, lock=True)
    if url is not None:
        found.url = posting.read_url(url, private=settings().private_endpoints)
        found.failures, found.rests_until = 0, None
    if types is not None:
        found.types = _types(types)
    _set_alarms(found, pool_low, pool_expiring_days)
    session.flush()
    history.remember(session, actor, "endpoint edited", found, url=found.url, types=found.types)
    return _told(session, found)


def rotate(
    session: Session,
    *,
    actor: Actor,
    endpoint: str | Endpoint,
    old_valid: timedelta = timedelta(hours=24),
) -> EndpointInClear:
    """Give an endpoint a new secret; for `old_valid`, deliveries are signed with the old ones too.

    Raises:
        InvalidInputError: `old_valid` is negative.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, name=endpoint, lock=True)
    whose = EndpointSecret.endpoint_id == found.id
    secrets.end(session, EndpointSecret, whose, old_valid=old_valid)
    secret = secrets.add(session, EndpointSecret(endpoint_id=found.id))
    history.remember(session, actor, "endpoint secret rotated", found)
    return {**_told(session, found), "secret": secret}


def pause(session: Session, *, actor: Actor, endpoint: str | Endpoint) -> EndpointShape:
    """Pause an endpoint: what happens waits for it, as long as a delivery is retried at all."""
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, name=endpoint, lock=True)
    if found.paused_at is None:
        found.paused_at = session.scalar(select(func.clock_now()))
        history.remember(session, actor, "endpoint paused", found, url=found.url)
    session.flush()
    return _told(session, found)


def resume(session: Session, *, actor: Actor, endpoint: str | Endpoint) -> EndpointShape:
    """Resume an endpoint that a person paused, or that said it is gone; it does not rest either."""
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, name=endpoint, lock=True)
    if found.paused_at is not None:
        history.remember(session, actor, "endpoint resumed", found, url=found.url)
    found.paused_at = found.paused_because = found.rests_until = None
    found.failures = 0
    session.flush()
    return _told(session, found)


def remove(session: Session, *, actor: Actor, endpoint: str | Endpoint) -> EndpointShape:
    """Remove an endpoint; its waiting deliveries become dead letters."""
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, name=endpoint, lock=True)
    found.removed_at = func.clock_now()
    session.flush()
    session.execute(
        update(Delivery)
        .where(Delivery.endpoint_id == found.id, Delivery.state == DeliveryState.WAITING)
        .values(state=DeliveryState.FAILED, ended_at=func.clock_now(), error=REMOVED)
    )
    history.remember(session, actor, "endpoint removed", found, url=found.url)
    return _told(session, found)


def show(session: Session, *, actor: Actor, endpoint: str | Endpoint) -> EndpointShape:
    """Give an endpoint; never its secrets."""
    actor.require(Role.MANAGER)
    return _told(session, find(session, actor=actor, name=endpoint))


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which endpoints."""

    search: str | None = by("Pieces of the address, in any order and letter case.", typed="search")
    organization: str | None = by("Those of this organization.")
    failing: bool = by("Only those whose last attempt failed.", default=False)


ALL = Filters()


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[EndpointShape]:
    """List the endpoints of the actor's organizations, without those removed; never their secrets."""
    actor.require(Role.MANAGER)
    chosen = [actor.sees(Endpoint.organization_id), *_chosen(session, actor, filters)]
    statement = select(Endpoint).add_columns(Organization.name).join(Organization).where(*chosen)
    return paged(
        session,
        statement,
        by=Endpoint.id,
        shape=lambda row: shape(row.Endpoint, row.name),
        **page,
    )


def total(session: Session, *, actor: Actor, filters: Filters, most: int | None = None) -> int:
    """Count the endpoints that the list would show, as `paging.total` does."""
    actor.require(Role.MANAGER)
    chosen = [actor.sees(Endpoint.organization_id), *_chosen(session, actor, filters)]
    return paging.total(session, select(Endpoint.id).where(*chosen), most)


def _chosen(session: Session, actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    yield Endpoint.removed_at.is_(None)
    yield from spoken(filters.search, Endpoint.url)
    if filters.organization is not None:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        yield Endpoint.organization_id == owner.id
    if filters.failing:
        yield Endpoint.failures > 0


def find(session: Session, *, actor: Actor, name: str | Endpoint, lock: bool = False) -> Endpoint:
    """Find an endpoint of the actor's organizations by id or URL; not a removed one.

    It also takes an endpoint that was found before, and `lock`, as `lookup.find` does.
    """
    return lookup.find(
        session,
        Endpoint,
        thing="endpoint",
        name=name,
        named=Endpoint.url,
        within=[actor.sees(Endpoint.organization_id), Endpoint.removed_at.is_(None)],
        lock=lock,
    )


def shape(endpoint: Endpoint, organization: str) -> EndpointShape:
    """Give an endpoint's public fields."""
    return {
        "id": str(endpoint.id),
        "url": endpoint.url,
        "organization": organization,
        "types": [DeliveryType(one) for one in endpoint.types],
        "pool_low": endpoint.pool_low,
        "pool_expiring_days": endpoint.pool_expiring_days,
        "created_at": endpoint.created_at,
        "removed_at": endpoint.removed_at,
        "failures": endpoint.failures,
        "rests_until": endpoint.rests_until,
        "paused_at": endpoint.paused_at,
        "paused_because": endpoint.paused_because,
    }


def _types(names: Sequence[str] | None) -> list[DeliveryType]:
    """Read the names of types, and give them in the enumeration's order; all if none is given."""
    chosen = set(DeliveryType) if names is None else {name.strip() for name in names}
    if unknown := chosen - set(DeliveryType):
        known = ", ".join(DeliveryType)
        raise errors.InvalidInputError(
            f"“{min(unknown)}” is not a type of event; one of {known}.", field="types"
        )
    if not chosen:
        raise errors.InvalidInputError("Name at least one type of event.", field="types")
    return [one for one in DeliveryType if one in chosen]


def _set_alarms(endpoint: Endpoint, pool_low: int | None, pool_expiring_days: int | None) -> None:
    if pool_low is not None:
        endpoint.pool_low = pool_low
    if pool_expiring_days is not None:
        endpoint.pool_expiring_days = pool_expiring_days


def _told(session: Session, endpoint: Endpoint) -> EndpointShape:
    session.refresh(endpoint)
    return shape(endpoint, session.get_one(Organization, endpoint.organization_id).name)
