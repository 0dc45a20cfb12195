"""Pools, their keys, and how keys come in and go out."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, JSON, BigInteger, Computed, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from worker.tables.catalogue import Course
from worker.tables.columns import Base, Id, Made, No, Versioned, Words, lower, of
from worker.tables.labels import BatchKind, BatchState, KeyState, LineResult, UnusualRule
from worker.tables.tenancy import Organization


class Pool(Versioned, Base):
    """A training key pool: one owner, one course, a window, and how long a redeemer has access."""

    __tablename__ = "pool"

    id: Mapped[Id]
    organization_id: Mapped[int] = of(Organization.id)
    course_id: Mapped[int] = of(Course.id)
    name: Mapped[str]
    starts_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    content_availability_days: Mapped[int] = mapped_column(Integer)
    share_with_children: Mapped[No]
    paused_at: Mapped[datetime | None]
    created_at: Mapped[Made]


class Distribution(Base):
    """Keys handed to one recipient under one reference."""

    __tablename__ = "distribution"

    id: Mapped[Id]
    pool_id: Mapped[int] = of(Pool.id)
    recipient: Mapped[str]
    recipient_lower: Mapped[str] = lower("recipient")
    recipient_name: Mapped[Words]
    reference: Mapped[Words]
    distributed_at: Mapped[Made]
    recalled_at: Mapped[datetime | None]


class Batch(Base):
    """A bulk job that adds keys to a pool, in chunks; made is committed with each chunk."""

    __tablename__ = "batch"

    id: Mapped[Id]
    pool_id: Mapped[int] = of(Pool.id)
    kind: Mapped[BatchKind]
    requested: Mapped[int]
    worked: Mapped[int] = mapped_column(server_default=text("0"))
    made: Mapped[int] = mapped_column(server_default=text("0"))
    letters: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    state: Mapped[BatchState] = mapped_column(server_default="queued")
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    error: Mapped[str | None]
    created_at: Mapped[Made]
    started_at: Mapped[datetime | None]
    worked_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    read: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    labels: Mapped[list[str] | None] = mapped_column(ARRAY(Text))


class BatchLine(Base):
    """One line of an import that made no key, and why; or the part of one that has several."""

    __tablename__ = "batch_line"

    batch_id: Mapped[int] = of(Batch.id, primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str]
    result: Mapped[LineResult]
    reason: Mapped[Words]
    part: Mapped[int] = mapped_column(
        Integer, primary_key=True, autoincrement=False, server_default=text("1")
    )
    unlike: Mapped[No]


class Key(Base):
    """A training key: one code, for one learner, once."""

    __tablename__ = "key"

    id: Mapped[Id]
    # No foreign keys: schema.sql says what keeps them.
    pool_id: Mapped[int]
    batch_id: Mapped[int | None]
    distribution_id: Mapped[int | None] = of(Distribution.id)
    created_at: Mapped[Made]
    state: Mapped[KeyState] = mapped_column(server_default="issued")
    generated: Mapped[No]
    code: Mapped[str] = mapped_column(Text(collation="C"))
    canonical: Mapped[str] = mapped_column(
        Text(collation="C"), Computed("canonical_code(code)", persisted=True)
    )
    labels: Mapped[list[str] | None] = mapped_column(ARRAY(Text))


class PoolUnusual(Base):
    """A spell in which a pool was unusual against its own past, by one rule."""

    __tablename__ = "pool_unusual"

    id: Mapped[Id]
    pool_id: Mapped[int] = of(Pool.id)
    rule: Mapped[UnusualRule]
    seen: Mapped[int]
    among: Mapped[int | None]
    usual: Mapped[Decimal]
    most: Mapped[int | None]
    began_at: Mapped[Made]
    held_at: Mapped[Made]
    ended_at: Mapped[datetime | None]


class PoolTally(Base):
    """What changed in a pool's figures: their sum is what the pool holds; kept by triggers."""

    __tablename__ = "pool_tally"

    pool_id: Mapped[int] = of(Pool.id)
    issued: Mapped[int]
    distributed: Mapped[int]
    redeemed: Mapped[int]
    retired: Mapped[int]
    distribution_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    their_given: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    their_redeemed: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    their_retired: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))

    # The table has no key, and a mapper wants one: select sums of its columns, never PoolTally.
    __mapper_args__ = {  # noqa: RUF012  # SQLAlchemy reads it from the class
        "primary_key": ["pool_id", "issued", "distributed", "redeemed", "retired"]
    }


class LabelTally(Base):
    """What changed in the figures of a pool's labels, as `PoolTally` has those of the pool."""

    __tablename__ = "label_tally"

    pool_id: Mapped[int] = of(Pool.id)
    label: Mapped[str]
    issued: Mapped[int]
    distributed: Mapped[int]
    redeemed: Mapped[int]
    retired: Mapped[int]

    __mapper_args__ = {  # noqa: RUF012  # as above
        "primary_key": ["pool_id", "label", "issued", "distributed", "redeemed", "retired"]
    }


class KeyReplacement(Base):
    """A key that was given in another's place: the old one is retired, the new one handed out."""

    __tablename__ = "key_replacement"

    old_key_id: Mapped[int] = of(Key.id, primary_key=True)
    new_key_id: Mapped[int] = of(Key.id)
    distribution_id: Mapped[int] = of(Distribution.id)
    reason: Mapped[str]
    replaced_at: Mapped[Made]


class DistributionTally(Base):
    """What a distribution of many keys holds as of the last fold of the tallies."""

    __tablename__ = "distribution_tally"

    distribution_id: Mapped[int] = of(Distribution.id, primary_key=True)
    given: Mapped[int]
    redeemed: Mapped[int]
    retired: Mapped[int]
