"""What tests start from: organizations, a course, a pool, keys, and events in the inbox."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.catalogue import courses
from worker.database import connections
from worker.database.connections import Entry
from worker.pools import pools
from worker.redemption import deciding
from worker.tables.tenancy import Token
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role

OPERATOR = Actor.operator("test")


@dataclass(frozen=True)
class World:
    """A parent with two children, a course at 49.90 EUR, an open pool of the parent's, a source."""

    session: Session
    parent: int
    child: int
    sibling: int
    pool: str
    source: int

    def keys(self, count: int, *, pool: str | None = None) -> list[str]:
        """Add keys to a pool and give their codes."""
        made = [f"TEST-{secrets.token_hex(8).upper()}" for _ in range(count)]
        self.session.execute(
            text("INSERT INTO key (pool_id, code) SELECT :pool, unnest(CAST(:codes AS text[]))"),
            {"pool": int(pool or self.pool), "codes": made},
        )
        return made

    def request(
        self, code: str, email: str, *, organization: int | None = None, at: datetime | None = None
    ) -> int:
        """Record a redemption.requested event and give its id."""
        data = {"key": code, "learner": {"email": email, "name": "Ann"}}
        return self.event(
            "redemption.requested", data, organization=organization or self.parent, at=at
        )

    def request_of_last_month(self, email: str) -> datetime:
        """Record a request for a key of 40 days ago, when prices stood already; gives when it was."""
        self.session.execute(
            text("UPDATE price SET valid_from = '2020-01-01' WHERE valid_from > '2020-01-01'")
        )
        at = self.figures("SELECT clock_now() - interval '40 days' AS at").at
        self.request(*self.keys(1), email, at=at)
        return at

    def event(
        self,
        type_: str,
        data: dict[str, Any],
        *,
        organization: int | None = None,
        at: datetime | None = None,
    ) -> int:
        """Record an event of the parent's source and give its id."""
        return self.session.execute(
            text("""
                INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id,
                                   body_hash, type, data, received_at)
                VALUES (:source, :parent, :organization, :webhook_id, :hash, CAST(:type AS event_type),
                        CAST(:data AS jsonb), coalesce(:at, clock_now()))
                RETURNING id"""),
            {
                "source": self.source,
                "parent": self.parent,
                "organization": organization,
                "webhook_id": secrets.token_hex(8),
                "hash": hashlib.sha256(json.dumps(data).encode()).digest(),
                "type": type_,
                "data": json.dumps(data),
                "at": at,
            },
        ).scalar_one()

    def redeemed(
        self,
        email: str = "ann@example.org",
        code: str | None = None,
        *,
        organization: int | None = None,
    ) -> str:
        """Redeem a key for a learner and give the assignment's id."""
        event = self.request(code or self.keys(1)[0], email, organization=organization)
        deciding.settle(self.session, event_ids=[event])
        return str(
            self.figures("SELECT assignment_id AS id FROM event WHERE id = :id", id=event).id
        )

    def launched(self, assignment: str) -> None:
        """Record that training was launched under an assignment."""
        self.session.execute(
            text(
                "INSERT INTO launch (assignment_id, organization_id, launch, launched_at)"
                " VALUES (:id, :organization, :launch, clock_now())"
            ),
            {"id": int(assignment), "organization": self.parent, "launch": f"L-{assignment}"},
        )

    def outcome(self, event: int) -> str | None:
        """Give what became of an event; None while it is undecided."""
        return self.session.execute(
            text("SELECT outcome FROM event WHERE id = :id"), {"id": event}
        ).scalar_one()

    def figures(self, query: str, **parameters: object) -> Any:
        """Give the one row of a query."""
        return self.session.execute(text(query), parameters).one()


def build(session: Session, *, name: str | None = None, **pool: Any) -> World:
    """Build a world of its own; `pool` overrides what the pool is made with."""
    tag = name or secrets.token_hex(4)
    parent = organizations.add(session, actor=OPERATOR, name=f"Parent {tag}")
    child = organizations.add(session, actor=OPERATOR, name=f"Child {tag}", parent=parent["name"])
    sibling = organizations.add(session, actor=OPERATOR, name=f"Stranger {tag}")
    courses.add(
        session, actor=OPERATOR, code=f"C-{tag}", title="A course", price="49.90", currency="EUR"
    )
    made = pools.create(
        session,
        **{
            "actor": OPERATOR,
            "name": f"Pool {tag}",
            "organization": parent["name"],
            "course": f"C-{tag}",
            "starts": "2020-01-01",
            "expires": "2090-12-31",
            "content_availability": 30,
            **pool,
        },
    )
    source = session.execute(
        text("INSERT INTO source (organization_id, name) VALUES (:id, 'shop') RETURNING id"),
        {"id": int(parent["id"])},
    ).scalar_one()
    return World(
        session, int(parent["id"]), int(child["id"]), int(sibling["id"]), made["id"], source
    )


def entered(organization_id: int | None, role: Role = Role.MANAGER) -> Actor:
    """Give somebody with a new token of an organization, or of the operator, as the web knows them."""
    role = Role.OPERATOR if organization_id is None else role
    token = Token(
        name="entry", role=role, organization_id=organization_id, hash=secrets.token_bytes(32)
    )
    with connections.session() as session:
        session.add(token)
    name, entry = f"token {token.id} (entry)", Entry("enter_token", (token.hash,))
    return Actor(name, role, organization_id, entry)


def entry_of(organization_id: int | None) -> Entry | None:
    """Give how the web enters for an organization, or for the operator."""
    return entered(organization_id).scope
