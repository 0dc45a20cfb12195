"""Turns the drawn history into rows of the tables."""

import re
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.errors import of_extra
from worker.pools import codes
from worker.simulation.attempts import OUTCOMES, Attempts
from worker.simulation.copying import Columns, Copying, chosen, ids, instants, joined, texts
from worker.simulation.grants import WITHIN, Grants, organization_of
from worker.simulation.ledger import Charges
from worker.simulation.names import FIRST, HOMES, LAST, REASONS, TAXES, person
from worker.simulation.seasons import NEVER, SECOND, Seasons, moment
from worker.simulation.stock import Stock
from worker.simulation.usage import Launches
from worker.simulation.world import Indexes, World

with of_extra("notebooks"):
    import pyarrow as pa
    import pyarrow.compute as pc

STATES = ("issued", "redeemed", "retired")
CHARGE_KINDS = ("redemption", "extension", "credit")
LARGE = (
    "distribution",
    "key",
    "learner",
    "assignment",
    "event",
    "redemption",
    "launch",
    "charge",
)
SWEEP = 60 * SECOND  # how long after its end an assignment is marked as expired


class Loading:
    """Assigns ids, and copies table after table in the order of the foreign keys."""

    def __init__(
        self, session: Session, rng: np.random.Generator, seasons: Seasons, world: World, seed: int
    ) -> None:
        self._session, self._rng, self._seasons, self._world = session, rng, seasons, world
        self._seed = seed
        self._copying = Copying(session)
        self._first: dict[str, int] = {}

    @property
    def copied(self) -> dict[str, int]:
        """How many rows were copied into each table."""
        return self._copying.copied

    def bare(self) -> AbstractContextManager[None]:
        """Drop the large tables' indexes and foreign keys until all rows are copied."""
        return self._copying.bare(*LARGE)

    def teachers(self) -> None:
        """Load organizations, courses, prices and pools."""
        self._organizations()
        self._courses()
        self._pools()

    def keys(self, stock: Stock) -> None:
        """Load keys with their batches and distributions."""
        self._batches(stock)
        self._distributions(stock)
        self._keys(stock)

    def _reserve(self, table: str, number: int) -> Indexes:
        self._first[table] = self._copying.reserve(table, number)
        return np.arange(number) + self._first[table]

    def _ids(self, table: str, indexes: Indexes) -> pa.Array:
        return ids(self._first[table], np.asarray(indexes, np.int64))

    def _organizations(self) -> None:
        all_of_them = self._world.organizations
        homes = [HOMES[organization.home] for organization in all_of_them]
        numbers = self._reserve("organization", len(all_of_them))
        above = [NEVER if o.parent is None else o.parent for o in all_of_them]
        self._copying.rows("organization", {
            "id": numbers,
            "name": [organization.name for organization in all_of_them],
            "parent_id": self._ids("organization", np.array(above)),
            "time_zone": [zone for zone, _, _ in homes],
            "currency": [currency for _, currency, _ in homes],
            "locale": [locale for _, _, locale in homes],
            "legal_name": [f"{organization.name} Ltd" for organization in all_of_them],
            "address": [f"{1 + n} Example Street" for n in range(len(all_of_them))],
            "created_at": instants(np.array([organization.made for organization in all_of_them])),
        })  # fmt: skip
        taxes = [(n, *tax) for n, o in enumerate(all_of_them) if (tax := TAXES[o.home])]
        self._rates = np.full(len(all_of_them), NEVER)
        self._rates[[n for n, _, _ in taxes]] = np.arange(len(taxes))
        self._copying.rows(
            "tax_rate",
            {
                "id": self._reserve("tax_rate", len(taxes)),
                "organization_id": self._ids("organization", np.array([n for n, _, _ in taxes])),
                "label": [label for _, label, _ in taxes],
                "percent": [percent for _, _, percent in taxes],
                "valid_from": instants(np.array([all_of_them[n].made for n, _, _ in taxes])),
            },
        )
        roots = [n for n, organization in enumerate(all_of_them) if organization.parent is None]
        self._copying.rows("source", {
            "id": self._reserve("source", len(roots)),
            "organization_id": self._ids("organization", np.array(roots)),
            "name": ["Shop"] * len(roots),
            "created_at": instants(np.array([all_of_them[n].made for n in roots])),
        })  # fmt: skip
        trees = [self._world.ancestors(n)[-1] for n in range(len(all_of_them))]
        self._root = np.array(trees)
        self._source = np.array([roots.index(root) for root in trees])
        slugs = [re.sub("[^a-z0-9]+", "-", o.name.lower()) for o in all_of_them]
        self._hosts = [f"@{slug}.example" for slug in slugs]

    def _courses(self) -> None:
        courses, prices = self._world.courses, self._world.prices
        made = np.full(len(courses), min(price.since for price in prices))
        numbers = self._reserve("course", len(courses))
        self._copying.rows("course", {
            "id": numbers,
            "code": [code for code, _ in courses],
            "title": [title for _, title in courses],
            "created_at": instants(made),
        })  # fmt: skip
        payers = [NEVER if p.organization is None else p.organization for p in prices]
        self._copying.rows("price", {
            "course_id": self._ids("course", np.array([price.course for price in prices])),
            "organization_id": self._ids("organization", np.array(payers)),
            "amount": [str(price.amount) for price in prices],
            "currency": [price.currency for price in prices],
            "valid_from": instants(np.array([price.since for price in prices])),
            "created_at": instants(np.full(len(prices), made[0])),
        })  # fmt: skip

    def _pools(self) -> None:
        pools = self._world.pools

        def column(name: str) -> NDArray[np.int64]:
            return np.array([getattr(pool, name) for pool in pools])

        self._copying.rows("pool", {
            "id": self._reserve("pool", len(pools)),
            "organization_id": self._ids("organization", column("organization")),
            "course_id": self._ids("course", column("course")),
            "name": [pool.name for pool in pools],
            "starts_at": instants(column("starts")),
            "expires_at": instants(column("expires")),
            "content_availability_days": column("availability"),
            "share_with_children": [pool.shared for pool in pools],
            "paused_at": instants(column("paused")),
            "created_at": instants(column("made")),
        })  # fmt: skip
        archive = text("UPDATE course SET archived_at = :at WHERE id = :id")
        last = self._first["course"] + len(self._world.courses) - 1
        self._session.execute(archive, {"at": moment(self._world.archived), "id": last})

    def _batches(self, stock: Stock) -> None:
        (made, pool), self._batch, counts = np.unique(
            np.stack([stock.made, stock.pool]), axis=1, return_inverse=True, return_counts=True
        )
        kinds = np.array([pool.generated for pool in self._world.pools])[pool]
        finished = instants(made + SECOND + 20 * counts)
        self._copying.rows(
            "batch",
            {
                "id": self._reserve("batch", len(counts)),
                "pool_id": self._ids("pool", pool),
                "kind": chosen(["import", "generate"], kinds),
                "requested": counts,
                "worked": counts,
                "made": counts,
                "state": ["done"] * len(counts),
                "created_at": instants(made),
                "started_at": instants(made + SECOND),
                "worked_at": finished,
                "finished_at": finished,
            },
        )

    def _distributions(self, stock: Stock) -> None:
        numbers = self._reserve("distribution", len(stock.handed_out))
        hosts = np.array([pool.organization for pool in self._world.pools])
        shops = self._rng.integers(1, 400, len(numbers))

        def columns(rows: slice) -> Columns:
            shop = texts(shops[rows])
            pool = stock.distributed_from[rows]
            return {
                "id": numbers[rows],
                "pool_id": self._ids("pool", pool),
                "recipient": joined("orders", shop, chosen(self._hosts, hosts[pool])),
                "recipient_name": joined("Reseller ", shop),
                "reference": joined("ORDER-", texts(numbers[rows])),
                "distributed_at": instants(stock.handed_out[rows]),
                "recalled_at": instants(stock.recalled[rows]),
            }

        self._copying.slices("distribution", len(numbers), columns)

    def _keys(self, stock: Stock) -> None:
        numbers = self._reserve("key", len(stock.pool))
        generated = np.array([pool.generated for pool in self._world.pools])

        def columns(rows: slice) -> Columns:
            ours = generated[stock.pool[rows]]
            return {
                "id": numbers[rows],
                "pool_id": self._ids("pool", stock.pool[rows]),
                "batch_id": self._ids("batch", self._batch[rows]),
                "distribution_id": self._ids("distribution", stock.distribution[rows]),
                "created_at": instants(stock.made[rows]),
                "state": chosen(STATES, stock.state[rows]),
                "generated": ours,
                "code": _codes(self._rng, ours),
            }

        self._copying.slices("key", len(numbers), columns)

    def assignments(self, grants: Grants, stock: Stock) -> None:
        """Load learners and their assignments."""
        people, met, self._learner = np.unique(
            grants.person, return_index=True, return_inverse=True
        )
        numbers = self._reserve("learner", len(people))
        self._copying.slices("learner", len(people), lambda rows: {
            "id": numbers[rows],
            "organization_id": self._ids("organization", organization_of(people[rows])),
            "email": self._emails(people[rows]),
            "name": _full_names(people[rows]),
            "created_at": instants(grants.at[met[rows]]),
        })  # fmt: skip
        self._reserve("assignment", len(grants.at))
        course = np.array([pool.course for pool in self._world.pools])
        end = self._seasons.end
        over = (grants.cancelled == NEVER) & (grants.expires <= end)
        swept = np.minimum(grants.expires + self._rng.integers(0, SWEEP, len(over)), end)
        reasons = self._rng.integers(0, len(REASONS), len(over))
        self._copying.slices("assignment", len(grants.at), lambda rows: {
            "id": self._ids("assignment", np.arange(len(over))[rows]),
            "key_id": self._ids("key", stock.of_grant[rows]),
            "pool_id": self._ids("pool", grants.pool[rows]),
            "course_id": self._ids("course", course[grants.pool[rows]]),
            "learner_id": self._ids("learner", self._learner[rows]),
            "organization_id": self._ids("organization", organization_of(grants.person[rows])),
            "status": chosen(
                ["active", "expired", "cancelled"],
                np.where(grants.cancelled[rows] != NEVER, 2, over[rows]),
            ),
            "undone": grants.undone[rows],
            "redeemed_at": instants(grants.at[rows]),
            "expires_at": instants(grants.expires[rows]),
            "expired_at": instants(np.where(over, swept, NEVER)[rows]),
            "cancelled_at": instants(grants.cancelled[rows]),
            "cancel_reason": chosen(
                [*REASONS, None],
                np.where(grants.cancelled[rows] == NEVER, len(REASONS), reasons[rows]),
            ),
        })  # fmt: skip

    def attempts(self, attempts: Attempts) -> None:
        """Load the inbox's events, with blank bodies, and their redemptions."""
        numbers = self._reserve("event", len(attempts))
        waited = (self._rng.exponential(0.4, len(attempts)) * SECOND).astype(np.int64)
        organization = organization_of(attempts.person)

        def events(rows: slice) -> Columns:
            size = len(numbers[rows])
            home = organization[rows]
            return {
                "id": numbers[rows],
                "source_id": self._ids("source", self._source[home]),
                "organization_id": self._ids("organization", self._root[home]),
                "learner_organization_id": self._ids("organization", home),
                "webhook_id": joined(f"simulated-{self._seed}-", texts(numbers[rows])),
                "body_hash": _hashes(self._rng, size),
                "type": pa.array(["redemption.requested"] * size),
                "received_at": instants(attempts.at[rows]),
                "status": pa.array(["settled"] * size),
                "outcome": chosen(OUTCOMES, attempts.outcome[rows]),
                "assignment_id": self._ids("assignment", attempts.grant[rows]),
                "settled_at": instants(attempts.at[rows] + waited[rows]),
            }

        def redemptions(rows: slice) -> Columns:
            home, pool = organization[rows], attempts.pool[rows]
            owners = np.array([pool.organization for pool in self._world.pools])
            sees = np.where(pool == NEVER, self._root[home], owners[pool])
            return {
                "event_id": numbers[rows],
                "organization_id": self._ids("organization", sees),
                "learner_organization_id": self._ids("organization", home),
                "learner_email": self._emails(attempts.person[rows]),
                "key_id": self._ids("key", attempts.key[rows]),
                "pool_id": self._ids("pool", pool),
                "assignment_id": self._ids("assignment", attempts.grant[rows]),
                "outcome": chosen(OUTCOMES, attempts.outcome[rows]),
                "received_at": instants(attempts.at[rows]),
            }

        self._copying.slices("event", len(attempts), events)
        self._copying.slices("redemption", len(attempts), redemptions)

    def launches(self, launches: Launches, grants: Grants) -> None:
        """Load the launches."""
        numbers = self._reserve("launch", len(launches.at))

        def columns(rows: slice) -> Columns:
            home = organization_of(grants.person[launches.grant[rows]])
            open_still = launches.ended[rows] == NEVER
            score = launches.score[rows]
            return {
                "id": numbers[rows],
                "assignment_id": self._ids("assignment", launches.grant[rows]),
                "organization_id": self._ids("organization", home),
                "source_id": self._ids("source", self._source[home]),
                "launch": joined("run-", texts(numbers[rows])),
                "launched_at": instants(launches.at[rows]),
                "ended_at": instants(launches.ended[rows]),
                "completed": pa.array(launches.completed[rows], mask=open_still),
                "score": pa.array(score, mask=np.isnan(score)),
            }

        self._copying.slices("launch", len(numbers), columns)

    def charges(self, charges: Charges, grants: Grants) -> None:
        """Load the charges."""
        self._reserve("charge", len(charges))
        self._charges(charges, grants, slice(0, charges.charged))

    def credits(self, charges: Charges, grants: Grants) -> None:
        """Load the credits, after the indexes are back, because each credit reads its charge."""
        self._charges(charges, grants, slice(charges.charged, len(charges)))

    def _charges(self, charges: Charges, grants: Grants, part: slice) -> None:
        course, owner = (
            np.array([getattr(pool, name) for pool in self._world.pools])
            for name in ("course", "organization")
        )
        number = np.arange(len(charges))[part]

        def columns(within: slice) -> Columns:
            rows = number[within]
            grant = charges.grant[rows]
            pool = grants.pool[grant]
            home = organization_of(grants.person[grant])
            return {
                "id": self._ids("charge", rows),
                "kind": chosen(CHARGE_KINDS, charges.kind[rows]),
                "organization_id": self._ids("organization", owner[pool]),
                "learner_organization_id": self._ids("organization", home),
                "course_id": self._ids("course", course[pool]),
                "pool_id": self._ids("pool", pool),
                "assignment_id": self._ids("assignment", grant),
                "credits_id": self._ids("charge", charges.credits[rows]),
                "amount": chosen(charges.amounts, charges.amount[rows]),
                "currency": chosen(charges.currencies, charges.amount[rows]),
                "occurred_at": instants(charges.at[rows]),
                "reason": chosen(charges.reasons, charges.reason[rows]),
                "tax_rate_id": self._ids("tax_rate", self._rates[owner[pool]]),
            }

        self._copying.slices("charge", len(number), columns)

    def _emails(self, people: Indexes) -> pa.Array:
        first, last, more = _parts(people)
        host = chosen(self._hosts, organization_of(people))
        return joined(chosen(FIRST, first), ".", chosen(LAST, last), more, host)


def _parts(people: Indexes) -> tuple[Indexes, Indexes, pa.Array]:
    first, last, more = person(people & ((1 << WITHIN) - 1))
    return first, last, pc.if_else(pa.array(more == 0), "", texts(more))


def _full_names(people: Indexes) -> pa.Array:
    first, last, _ = _parts(people)
    names = [[word.title() for word in words] for words in (FIRST, LAST)]
    return joined(chosen(names[0], first), " ", chosen(names[1], last))


def _hashes(rng: np.random.Generator, number: int) -> pa.Array:
    digests = np.frombuffer(rng.bytes(32 * number).hex().encode(), "S64")
    return joined("\\x", pa.array(digests.astype("U64"), pa.string()))


def _codes(rng: np.random.Generator, generated: NDArray[np.bool_]) -> pa.Array:
    """Draw codes as keypool generates them, though from the seed; imported ones are shorter."""
    values = rng.integers(0, 32, (len(generated), codes.LENGTH), np.uint8)
    values[:, 0] = rng.integers(len(codes.ALPHABET) - codes.LETTERS, 32, len(values))
    rest = np.zeros(len(values), np.uint8)
    for column in values[:, :-1].T:
        rest = np.array(codes.DOUBLED, np.uint8)[rest ^ column]
    values[:, -1] = rest
    symbols = np.frombuffer(codes.ALPHABET.encode(), np.uint8)[values]
    whole = np.full((len(values), 4, 5), ord("-"), np.uint8)
    whole[:, :, :4] = symbols.reshape(-1, 4, 4)
    written = np.ascontiguousarray(whole.reshape(-1, 20)[:, :19])
    written[~generated, 14:] = 0
    return pa.array(written.view("S19").reshape(-1).astype("U19"), pa.string())
