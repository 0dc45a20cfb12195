"""The tables of schema.sql as Python sees them: one class a table, compared with it by a test.

schema.sql is the truth and says why each rule and index is there. What Python never touches
(functions, triggers, policies, views) is in schema.sql alone.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import (
    ARRAY,
    CHAR,
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Computed,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column
from sqlalchemy.types import UserDefinedType


class KeyState(StrEnum):
    """What became of a key."""

    ISSUED = "issued"
    REDEEMED = "redeemed"
    RETIRED = "retired"


class BatchKind(StrEnum):
    """Where a batch's keys come from."""

    GENERATE = "generate"
    IMPORT = "import"


class BatchState(StrEnum):
    """How far a batch is; the last three are its end."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class LineResult(StrEnum):
    """What became of one line of an import (K5)."""

    ADDED = "added"
    DUPLICATE_IN_INPUT = "duplicate_in_input"
    ALREADY_EXISTS = "already_exists"
    INVALID = "invalid"


class EventStatus(StrEnum):
    """Whether an event was decided; failed ones are set apart for a person."""

    RECORDED = "recorded"
    SETTLED = "settled"
    FAILED = "failed"


class EventType(StrEnum):
    """What a webhook message tells."""

    REDEMPTION_REQUESTED = "redemption.requested"
    TRAINING_LAUNCHED = "training.launched"
    TRAINING_ENDED = "training.ended"


class RedemptionOutcome(StrEnum):
    """What was decided on a redemption.requested event (R3)."""

    REDEEMED = "redeemed"
    ALREADY_YOURS = "already_yours"
    MISTYPED_KEY = "mistyped_key"
    UNKNOWN_KEY = "unknown_key"
    ALREADY_REDEEMED = "already_redeemed"
    KEY_RETIRED = "key_retired"
    NOT_AVAILABLE_TO_ORGANIZATION = "not_available_to_organization"
    COURSE_ARCHIVED = "course_archived"
    POOL_PAUSED = "pool_paused"
    POOL_NOT_STARTED = "pool_not_started"
    POOL_EXPIRED = "pool_expired"
    ALREADY_ASSIGNED = "already_assigned"


class LaunchOutcome(StrEnum):
    """Whether a launch was let in (A2)."""

    LAUNCHED = "launched"
    ASSIGNMENT_EXPIRED = "assignment_expired"
    ASSIGNMENT_CANCELLED = "assignment_cancelled"


class AssignmentStatus(StrEnum):
    """Whether an assignment lives; an active one is valid only before its expires_at (A1)."""

    ACTIVE = "active"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ChargeKind(StrEnum):
    """What a charge is for (B3)."""

    REDEMPTION = "redemption"
    EXTENSION = "extension"
    CREDIT = "credit"


class InvoiceStatus(StrEnum):
    """How far an invoice is (B5)."""

    DRAFT = "draft"
    FINALIZED = "finalized"
    PAID = "paid"
    VOID = "void"


class DeliveryType(StrEnum):
    """What an endpoint can be told."""

    REDEMPTION_DECIDED = "redemption.decided"
    ASSIGNMENT_EXPIRED = "assignment.expired"
    ASSIGNMENT_CANCELLED = "assignment.cancelled"
    ASSIGNMENT_EXTENDED = "assignment.extended"
    POOL_LOW = "pool.low"
    POOL_EXPIRING = "pool.expiring"
    INVOICE_FINALIZED = "invoice.finalized"


class DeliveryState(StrEnum):
    """Whether an endpoint took what it was told; failed ones are set apart for a person."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class ReportState(StrEnum):
    """How far a report that is kept is; the last two are its end."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ReportFormat(StrEnum):
    """What a report is asked for as; a PDF is kept beside its HTML."""

    HTML = "html"
    PDF = "pdf"


class Name(UserDefinedType[str]):
    """PostgreSQL's type for the names of logins."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Give the type's name in SQL."""
        return "name"


def _labels(enum: type[StrEnum]) -> list[str]:
    return [label.value for label in enum]


def _labelled(enum: type[StrEnum], name: str) -> Enum:
    return Enum(enum, name=name, values_callable=_labels)


class Base(DeclarativeBase):
    """What every table has in common: how Python's types are kept."""

    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it from the class
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        KeyState: _labelled(KeyState, "key_state"),
        BatchKind: _labelled(BatchKind, "batch_kind"),
        BatchState: _labelled(BatchState, "batch_state"),
        LineResult: _labelled(LineResult, "line_result"),
        EventStatus: _labelled(EventStatus, "event_status"),
        EventType: _labelled(EventType, "event_type"),
        RedemptionOutcome: _labelled(RedemptionOutcome, "redemption_outcome"),
        LaunchOutcome: _labelled(LaunchOutcome, "launch_outcome"),
        AssignmentStatus: _labelled(AssignmentStatus, "assignment_status"),
        ChargeKind: _labelled(ChargeKind, "charge_kind"),
        InvoiceStatus: _labelled(InvoiceStatus, "invoice_status"),
        DeliveryType: _labelled(DeliveryType, "delivery_type"),
        DeliveryState: _labelled(DeliveryState, "delivery_state"),
        ReportState: _labelled(ReportState, "report_state"),
        ReportFormat: _labelled(ReportFormat, "report_format"),
    }


Id = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
Made = Annotated[datetime, mapped_column(server_default=text("clock_now()"))]
Amount = Annotated[Decimal, mapped_column(Numeric(14, 4))]
Sum = Annotated[Decimal, mapped_column(Numeric(16, 4))]
CurrencyCode = Annotated[str, mapped_column(CHAR(3))]
Words = Annotated[str, mapped_column(server_default="")]
No = Annotated[bool, mapped_column(server_default=text("false"))]


def _of(target: str, *, primary_key: bool = False) -> MappedColumn[Any]:
    return mapped_column(ForeignKey(target, ondelete="RESTRICT"), primary_key=primary_key)


def _lower(column: str) -> MappedColumn[Any]:
    return mapped_column(Computed(f"lower({column})", persisted=True))


def _of_a_line(rule: str) -> ForeignKeyConstraint:
    """Tie a row to a line and to that line's invoice."""
    return ForeignKeyConstraint(
        ["line_id", "invoice_id"],
        ["invoice_line.id", "invoice_line.invoice_id"],
        name=rule,
        ondelete="RESTRICT",
    )


def _rule(name: str, sql: str) -> CheckConstraint:
    return CheckConstraint(sql, name=name)


# Organizations, courses, prices


class Currency(Base):
    """A currency (ISO 4217) and how many decimals its amounts have."""

    __tablename__ = "currency"

    code: Mapped[CurrencyCode] = mapped_column(primary_key=True)
    minor_unit: Mapped[int] = mapped_column(Integer)

    __table_args__ = (_rule("currency_has_its_minor_unit", "minor_unit = minor_unit(code)"),)


class Organization(Base):
    """A tenant; organizations form a tree."""

    __tablename__ = "organization"

    id: Mapped[Id]
    name: Mapped[str]
    parent_id: Mapped[int | None] = _of("organization.id")
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    currency: Mapped[CurrencyCode] = mapped_column(
        ForeignKey("currency.code", ondelete="RESTRICT"), server_default="EUR"
    )
    locale: Mapped[str] = mapped_column(server_default="en")
    legal_name: Mapped[Words]
    address: Mapped[Words]
    tax_id: Mapped[Words]
    payment_terms_days: Mapped[int] = mapped_column(Integer, server_default=text("30"))
    created_at: Mapped[Made]

    __table_args__ = (
        UniqueConstraint("name", name="organization_name_is_unique"),
        _rule(
            "organization_has_a_name", "name = btrim(name) AND name <> '' AND length(name) <= 200"
        ),
        _rule("organization_time_zone_is_known", "is_time_zone(time_zone)"),
        _rule("organization_is_not_its_parent", "parent_id <> id"),
        _rule("organization_pays_in_time", "payment_terms_days BETWEEN 0 AND 365"),
    )


class OrganizationAncestry(Base):
    """An organization's ancestor, itself included at distance 0; kept by triggers."""

    __tablename__ = "organization_ancestry"

    ancestor_id: Mapped[int] = mapped_column(
        ForeignKey("organization.id", ondelete="CASCADE"), primary_key=True
    )
    descendant_id: Mapped[int] = mapped_column(
        ForeignKey("organization.id", ondelete="CASCADE"), primary_key=True
    )
    distance: Mapped[int] = mapped_column(Integer)

    __table_args__ = (
        _rule("ancestry_distance_counts_up", "distance >= 0"),
        Index("organization_ancestry_upward", "descendant_id", "distance"),
    )


class TaxRate(Base):
    """The rate and name of the tax that an organization is charged, from an instant on."""

    __tablename__ = "tax_rate"

    id: Mapped[Id]
    organization_id: Mapped[int] = _of("organization.id")
    label: Mapped[str] = mapped_column(server_default="Tax")
    percent: Mapped[Decimal] = mapped_column(Numeric(6, 3))
    valid_from: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("organization_id", "valid_from", name="tax_rate_changes_once_an_instant"),
        _rule("tax_rate_is_a_percentage", "percent BETWEEN 0 AND 100"),
    )


class Seller(Base):
    """The operator who sells: one row, printed on invoices."""

    __tablename__ = "seller"

    only_one: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    name: Mapped[str] = mapped_column(server_default="keypool operator")
    address: Mapped[Words]
    tax_id: Mapped[Words]
    payment_details: Mapped[Words]

    __table_args__ = (_rule("seller_is_one", "only_one"),)


class Course(Base):
    """What is taught."""

    __tablename__ = "course"

    id: Mapped[Id]
    code: Mapped[str]
    title: Mapped[str]
    archived_at: Mapped[datetime | None]
    created_at: Mapped[Made]

    __table_args__ = (
        _rule("course_has_a_code", "code = btrim(code) AND code <> '' AND length(code) <= 64"),
        _rule(
            "course_has_a_title", "title = btrim(title) AND title <> '' AND length(title) <= 300"
        ),
        Index("course_code_is_unique", text("lower(code)"), unique=True),
    )


class Price(Base):
    """What a redemption of a course costs from an instant on; no organization: the list price."""

    __tablename__ = "price"

    id: Mapped[Id]
    course_id: Mapped[int] = _of("course.id")
    organization_id: Mapped[int | None] = _of("organization.id")
    amount: Mapped[Amount]
    currency: Mapped[CurrencyCode] = _of("currency.code")
    valid_from: Mapped[datetime]
    created_at: Mapped[Made]

    __table_args__ = (
        _rule("price_is_not_negative", "amount >= 0"),
        _rule("price_is_in_the_minor_unit", "amount = round(amount, minor_unit(currency))"),
        UniqueConstraint(
            "course_id",
            "organization_id",
            "valid_from",
            name="price_changes_once_an_instant",
            postgresql_nulls_not_distinct=True,
        ),
    )


# Pools and keys


class Pool(Base):
    """A training key pool: one owner, one course, a window, and how long a redeemer has access."""

    __tablename__ = "pool"

    id: Mapped[Id]
    organization_id: Mapped[int] = _of("organization.id")
    course_id: Mapped[int] = _of("course.id")
    name: Mapped[str]
    starts_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    content_availability_days: Mapped[int] = mapped_column(Integer)
    share_with_children: Mapped[No]
    paused_at: Mapped[datetime | None]
    created_at: Mapped[Made]

    __table_args__ = (
        UniqueConstraint("organization_id", "name", name="pool_name_is_unique_in_its_organization"),
        _rule("pool_has_a_name", "name = btrim(name) AND name <> '' AND length(name) <= 200"),
        _rule("pool_starts_before_it_expires", "starts_at < expires_at"),
        _rule(
            "pool_content_is_available_1_to_3650_days",
            "content_availability_days BETWEEN 1 AND 3650",
        ),
        Index("pool_by_course", "course_id"),
    )


class Distribution(Base):
    """Keys handed to one recipient under one reference."""

    __tablename__ = "distribution"

    id: Mapped[Id]
    pool_id: Mapped[int] = _of("pool.id")
    recipient: Mapped[str]
    recipient_lower: Mapped[str] = _lower("recipient")
    recipient_name: Mapped[Words]
    reference: Mapped[Words]
    distributed_at: Mapped[Made]
    recalled_at: Mapped[datetime | None]

    __table_args__ = (
        _rule("distribution_has_a_recipient", "recipient = btrim(recipient) AND recipient <> ''"),
        Index(
            "distribution_is_made_once",
            "pool_id",
            "recipient_lower",
            "reference",
            unique=True,
        ),
        Index(
            "distribution_by_time",
            "distributed_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32},
        ),
    )


class Batch(Base):
    """A bulk job that adds keys to a pool, in chunks; made is committed with each chunk."""

    __tablename__ = "batch"

    id: Mapped[Id]
    pool_id: Mapped[int] = _of("pool.id")
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

    __table_args__ = (
        _rule("batch_asks_for_something", "requested > 0"),
        _rule("batch_works_what_it_was_asked", "worked BETWEEN 0 AND requested"),
        _rule("batch_makes_what_it_was_asked", "made BETWEEN 0 AND requested"),
        _rule(
            "batch_ends_once",
            "(state IN ('done', 'cancelled', 'failed')) = (finished_at IS NOT NULL)",
        ),
        _rule("batch_failure_has_its_error", "(state = 'failed') = (error IS NOT NULL)"),
        Index(
            "batch_unfinished",
            text("worked_at NULLS FIRST"),
            "id",
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        Index("batch_by_pool", "pool_id", "id"),
    )


class BatchChunk(Base):
    """Lines of an import that could be keys, as they were supplied."""

    __tablename__ = "batch_chunk"

    batch_id: Mapped[int] = _of("batch.id", primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(Integer)
    last_line: Mapped[int]
    lines: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    codes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    recipients: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    recipient_names: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    recipient_references: Mapped[list[str] | None] = mapped_column(ARRAY(Text))

    __table_args__ = (
        _rule("batch_chunk_has_a_code_per_line", "cardinality(codes) = cardinality(lines)"),
        _rule("batch_chunk_counts_its_lines", "size >= cardinality(lines) AND size > 0"),
    )


class BatchLine(Base):
    """One line of an import that made no key, and why."""

    __tablename__ = "batch_line"

    batch_id: Mapped[int] = _of("batch.id", primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str]
    result: Mapped[LineResult]
    reason: Mapped[Words]

    __table_args__ = (
        _rule("batch_line_made_no_key", "result <> 'added'"),
        _rule("batch_line_is_invalid_for_a_reason", "(result = 'invalid') = (reason <> '')"),
        Index(
            "batch_line_exists_once",
            "batch_id",
            text("canonical_code(code)"),
            unique=True,
            postgresql_where=text("result = 'already_exists'"),
        ),
    )


class Key(Base):
    """A training key: one code, for one learner, once."""

    __tablename__ = "key"

    id: Mapped[Id]
    # No foreign keys: schema.sql says what keeps them.
    pool_id: Mapped[int]
    batch_id: Mapped[int | None]
    distribution_id: Mapped[int | None] = _of("distribution.id")
    created_at: Mapped[Made]
    state: Mapped[KeyState] = mapped_column(server_default="issued")
    generated: Mapped[No]
    code: Mapped[str] = mapped_column(Text(collation="C"))
    canonical: Mapped[str] = mapped_column(
        Text(collation="C"), Computed("canonical_code(code)", persisted=True)
    )

    __table_args__ = (
        UniqueConstraint("canonical", name="key_is_unique_in_the_whole_system"),
        _rule(
            "key_code_is_well_formed",
            "code ~ '^[A-Za-z0-9]([A-Za-z0-9_. -]*[A-Za-z0-9])?$'"
            " AND length(code) BETWEEN 8 AND 64 AND length(canonical) >= 8",
        ),
        Index("key_by_pool", "pool_id", "id"),
        Index(
            "key_to_distribute",
            "pool_id",
            "id",
            postgresql_where=text("state = 'issued' AND distribution_id IS NULL"),
        ),
        Index("key_redeemed", "pool_id", "id", postgresql_where=text("state = 'redeemed'")),
        Index("key_retired", "pool_id", "id", postgresql_where=text("state = 'retired'")),
        Index(
            "key_by_distribution",
            "distribution_id",
            postgresql_where=text("distribution_id IS NOT NULL"),
        ),
    )


class PoolTally(Base):
    """What changed in a pool's figures: their sum is what the pool holds; kept by triggers."""

    __tablename__ = "pool_tally"

    pool_id: Mapped[int] = _of("pool.id")
    issued: Mapped[int]
    distributed: Mapped[int]
    redeemed: Mapped[int]
    retired: Mapped[int]
    distribution_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    their_given: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    their_redeemed: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    their_retired: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))

    __table_args__ = (Index("pool_tally_by_pool", "pool_id"),)
    # The table has no key, and a mapper wants one: select sums of its columns, never PoolTally.
    __mapper_args__ = {  # noqa: RUF012  # SQLAlchemy reads it from the class
        "primary_key": ["pool_id", "issued", "distributed", "redeemed", "retired"]
    }


class DistributionTally(Base):
    """What a distribution of many keys holds as of the last fold of the tallies."""

    __tablename__ = "distribution_tally"

    distribution_id: Mapped[int] = _of("distribution.id", primary_key=True)
    given: Mapped[int]
    redeemed: Mapped[int]
    retired: Mapped[int]


class PoolCharged(Base):
    """What a pool was charged in a quarter of an hour, in pieces whose sum it is; kept by triggers."""

    __tablename__ = "pool_charged"

    pool_id: Mapped[int] = _of("pool.id")
    charged_at: Mapped[datetime]
    currency: Mapped[CurrencyCode]
    quantity: Mapped[int]
    amount: Mapped[Sum]
    unbilled_quantity: Mapped[int]
    unbilled_amount: Mapped[Sum]

    __table_args__ = (
        Index("pool_charged_by_pool", "pool_id", "charged_at"),
        Index("pool_charged_by_time", "charged_at"),
    )
    __mapper_args__ = {  # noqa: RUF012  # as above
        "primary_key": ["pool_id", "charged_at", "currency", "quantity", "unbilled_quantity"]
    }


class PoolGrowth(Base):
    """How many keys were added to a pool in a quarter of an hour, a row a statement."""

    __tablename__ = "pool_growth"

    pool_id: Mapped[int] = _of("pool.id")
    made_at: Mapped[datetime]
    keys: Mapped[int]

    __table_args__ = (
        _rule("pool_growth_counts_keys", "keys > 0"),
        Index("pool_growth_by_time", "made_at"),
    )
    __mapper_args__ = {  # noqa: RUF012  # as above
        "primary_key": ["pool_id", "made_at", "keys"]
    }


# Who may come in


class Token(Base):
    """An API credential: shown once, kept as a hash. The operator's belong to no organization."""

    __tablename__ = "token"

    id: Mapped[Id]
    organization_id: Mapped[int | None] = _of("organization.id")
    name: Mapped[str]
    role: Mapped[str] = mapped_column(
        # worker.tenancy.actors.Role, which knows this module and cannot be known by it.
        Enum("operator", "manager", "finance", "analyst", "sender", name="role")
    )
    hash: Mapped[bytes]
    created_at: Mapped[Made]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("hash", name="token_is_unique"),
        _rule("token_has_a_name", "name = btrim(name) AND name <> '' AND length(name) <= 200"),
        _rule(
            "token_of_the_operator_has_no_organization",
            "(role = 'operator') = (organization_id IS NULL)",
        ),
    )


class User(Base):
    """A person who signs in to the console; the operator's belong to no organization."""

    __tablename__ = "console_user"

    id: Mapped[Id]
    organization_id: Mapped[int | None] = _of("organization.id")
    email: Mapped[str]
    role: Mapped[str] = mapped_column(
        Enum("operator", "manager", "finance", "analyst", "sender", name="role")
    )
    password_hash: Mapped[str]
    generation: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    created_at: Mapped[Made]
    disabled_at: Mapped[datetime | None]

    __table_args__ = (
        _rule(
            "user_has_an_address",
            "email = btrim(email) AND email LIKE '_%@_%' AND length(email) <= 320",
        ),
        _rule("user_has_a_hashed_password", "password_hash LIKE '$argon2id$%'"),
        _rule(
            "user_of_the_operator_has_no_organization",
            "(role = 'operator') = (organization_id IS NULL)",
        ),
        Index("user_email_is_unique", text("lower(email)"), unique=True),
    )


class SignInAttempt(Base):
    """One attempt to sign in; whose is kept as a hash."""

    __tablename__ = "sign_in_attempt"

    id: Mapped[Id]
    subject: Mapped[bytes]
    at: Mapped[datetime] = mapped_column(server_default=text("now()"))

    __table_args__ = (Index("sign_in_attempt_of_subject", "subject", "at"),)


class Answer(Base):
    """What was answered to a request with an Idempotency-Key, encrypted; None: forgotten."""

    __tablename__ = "answer"

    token_id: Mapped[int] = _of("token.id", primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[bytes]
    encrypted: Mapped[bytes | None]
    answered_at: Mapped[Made]

    __table_args__ = (
        _rule("answer_has_a_key", "key ~ '^[!-~]{1,255}$'"),
        Index("answer_by_age", "answered_at"),
    )


class Source(Base):
    """An external system that may post webhooks for one organization and its descendants."""

    __tablename__ = "source"

    id: Mapped[Id]
    organization_id: Mapped[int] = _of("organization.id")
    name: Mapped[str]
    created_at: Mapped[Made]

    __table_args__ = (
        UniqueConstraint(
            "organization_id", "name", name="source_name_is_unique_in_its_organization"
        ),
        _rule("source_has_a_name", "name = btrim(name) AND name <> '' AND length(name) <= 200"),
    )


class SourceSecret(Base):
    """A signing secret of a source, encrypted; several may be live during a rotation."""

    __tablename__ = "source_secret"

    id: Mapped[Id]
    source_id: Mapped[int] = _of("source.id")
    encrypted: Mapped[bytes]
    created_at: Mapped[Made]
    expires_at: Mapped[datetime | None]

    __table_args__ = (Index("source_secret_by_source", "source_id"),)


# Learners and their assignments


class Learner(Base):
    """A person in an organization, known by e-mail address."""

    __tablename__ = "learner"

    id: Mapped[Id]
    organization_id: Mapped[int] = _of("organization.id")
    email: Mapped[str]
    email_lower: Mapped[str] = _lower("email")
    name: Mapped[Words]
    created_at: Mapped[Made]
    erased_at: Mapped[datetime | None]

    __table_args__ = (
        _rule(
            "learner_has_an_email", "email = btrim(email) AND email <> '' AND length(email) <= 320"
        ),
        Index(
            "learner_is_one_person_per_organization",
            "email_lower",
            "organization_id",
            unique=True,
        ),
    )


class Assignment(Base):
    """A course assignment: one learner's access to one course until expires_at."""

    __tablename__ = "assignment"

    id: Mapped[Id]
    key_id: Mapped[int] = _of("key.id")
    pool_id: Mapped[int] = _of("pool.id")
    course_id: Mapped[int] = _of("course.id")
    learner_id: Mapped[int] = _of("learner.id")
    organization_id: Mapped[int] = _of("organization.id")
    status: Mapped[AssignmentStatus] = mapped_column(server_default="active")
    undone: Mapped[No]
    redeemed_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    expired_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]

    __table_args__ = (
        _rule("assignment_gives_access_for_a_while", "redeemed_at < expires_at"),
        _rule("assignment_is_expired_at_a_time", "(status = 'expired') = (expired_at IS NOT NULL)"),
        _rule(
            "assignment_is_cancelled_at_a_time",
            "(status = 'cancelled') = (cancelled_at IS NOT NULL)",
        ),
        _rule("assignment_is_undone_by_cancelling", "NOT undone OR status = 'cancelled'"),
        Index(
            "key_is_spent_once",
            "key_id",
            unique=True,
            postgresql_where=text("status <> 'cancelled'"),
        ),
        Index(
            "learner_has_one_live_assignment_per_course",
            "learner_id",
            "course_id",
            unique=True,
            postgresql_where=text("status = 'active'"),
        ),
        Index("assignment_to_expire", "expires_at", postgresql_where=text("status = 'active'")),
        Index("assignment_by_learner", "learner_id", "redeemed_at"),
        Index("assignment_by_key", "key_id"),
        Index("assignment_by_pool", "pool_id", "redeemed_at"),
        Index("assignment_by_organization", "organization_id", "id"),
        Index(
            "assignment_by_time",
            "redeemed_at",
            "expires_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32},
            postgresql_ops={
                "redeemed_at": "timestamptz_minmax_multi_ops",
                "expires_at": "timestamptz_minmax_multi_ops",
            },
        ),
    )


# The inbox


class Event(Base):
    """One webhook message, recorded once and for good."""

    __tablename__ = "event"

    id: Mapped[Id]
    source_id: Mapped[int] = _of("source.id")
    organization_id: Mapped[int] = _of("organization.id")
    learner_organization_id: Mapped[int | None] = _of("organization.id")
    webhook_id: Mapped[str]
    body_hash: Mapped[bytes]
    type: Mapped[EventType]
    data: Mapped[dict[str, Any] | None]
    received_at: Mapped[Made]
    status: Mapped[EventStatus] = mapped_column(server_default="recorded")
    waits_for: Mapped[str | None]
    outcome: Mapped[str | None]
    assignment_id: Mapped[int | None] = _of("assignment.id")
    settled_at: Mapped[datetime | None]
    claim_limit: Mapped[int | None] = mapped_column(Integer)
    deaths: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    error: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("source_id", "webhook_id", name="event_is_recorded_once"),
        _rule(
            "event_is_settled_with_an_outcome",
            "(status = 'settled') = (outcome IS NOT NULL)"
            " AND (status = 'settled') = (settled_at IS NOT NULL)",
        ),
        _rule("event_failure_has_its_error", "status <> 'failed' OR error IS NOT NULL"),
        _rule("event_waits_while_recorded", "waits_for IS NULL OR status = 'recorded'"),
        _rule(
            "redemption_names_the_learners_organization",
            "type <> 'redemption.requested' OR learner_organization_id IS NOT NULL",
        ),
        Index(
            "event_unsettled",
            "received_at",
            "id",
            postgresql_where=text("status = 'recorded' AND waits_for IS NULL"),
        ),
        Index(
            "event_waiting_for_its_launch",
            "source_id",
            "waits_for",
            postgresql_where=text("waits_for IS NOT NULL"),
        ),
        Index(
            "event_refused_launch",
            "source_id",
            text("(data->>'launch')"),
            postgresql_where=text("type = 'training.launched' AND outcome = 'unknown_assignment'"),
        ),
        Index("event_failed", "id", postgresql_where=text("status = 'failed'")),
        Index(
            "event_guessed",
            "source_id",
            "received_at",
            postgresql_where=text("outcome IN ('unknown_key', 'mistyped_key')"),
        ),
        Index("event_by_organization", "organization_id", "id"),
        Index(
            "event_by_time",
            "received_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32},
        ),
        Index(
            "event_to_blank",
            "settled_at",
            postgresql_where=text("status = 'settled' AND data IS NOT NULL"),
        ),
    )


class Settlement(Base):
    """A batch of events that a settler claimed; removed with the work, or a death's witness."""

    __tablename__ = "settlement"

    id: Mapped[Id]
    event_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    claimed_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    backend_pid: Mapped[int] = mapped_column(Integer, server_default=text("pg_backend_pid()"))

    __table_args__ = (_rule("settlement_claims_something", "cardinality(event_ids) > 0"),)


class Redemption(Base):
    """The decision on one redemption.requested event."""

    __tablename__ = "redemption"

    event_id: Mapped[int] = mapped_column(
        ForeignKey("event.id", ondelete="RESTRICT"), primary_key=True, autoincrement=False
    )
    organization_id: Mapped[int] = _of("organization.id")
    learner_organization_id: Mapped[int] = _of("organization.id")
    learner_email: Mapped[str]
    learner_email_lower: Mapped[str] = _lower("learner_email")
    key_id: Mapped[int | None] = _of("key.id")
    pool_id: Mapped[int | None] = _of("pool.id")
    assignment_id: Mapped[int | None] = _of("assignment.id")
    outcome: Mapped[RedemptionOutcome]
    received_at: Mapped[datetime]

    __table_args__ = (
        _rule(
            "redemption_without_a_key_found_none",
            "(key_id IS NULL) = (outcome IN ('mistyped_key', 'unknown_key'))",
        ),
        _rule("redemption_knows_its_keys_pool", "(key_id IS NULL) = (pool_id IS NULL)"),
        _rule(
            "redemption_leads_to_an_assignment",
            "outcome NOT IN ('redeemed', 'already_yours') OR assignment_id IS NOT NULL",
        ),
        Index(
            "assignment_comes_from_one_redemption",
            "assignment_id",
            unique=True,
            postgresql_where=text("outcome = 'redeemed'"),
        ),
        Index("redemption_by_key", "key_id", "event_id"),
        Index("redemption_by_pool", "pool_id", "event_id"),
        Index("redemption_by_organization", "organization_id", "event_id"),
        Index("redemption_by_learner", "learner_email_lower"),
        Index(
            "redemption_by_time",
            "received_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32},
        ),
    )


class Launch(Base):
    """One time a learner takes the training, known by its sender's id; refused ones too."""

    __tablename__ = "launch"

    id: Mapped[Id]
    assignment_id: Mapped[int] = _of("assignment.id")
    organization_id: Mapped[int] = _of("organization.id")
    source_id: Mapped[int | None] = _of("source.id")
    launch: Mapped[str]
    outcome: Mapped[LaunchOutcome] = mapped_column(server_default="launched")
    launched_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    completed: Mapped[bool | None]
    score: Mapped[Decimal | None] = mapped_column(Numeric(9, 4))

    __table_args__ = (
        UniqueConstraint("launch", "source_id", name="launch_is_recorded_once"),
        Index(
            "launch_over_the_api_is_recorded_once",
            "organization_id",
            "launch",
            unique=True,
            postgresql_where=text("source_id IS NULL"),
        ),
        _rule("launch_ends_after_it_began", "ended_at >= launched_at"),
        _rule("launch_refused_never_ends", "outcome = 'launched' OR ended_at IS NULL"),
        _rule(
            "launch_is_completed_by_ending",
            "ended_at IS NOT NULL OR (completed IS NULL AND score IS NULL)",
        ),
        Index("launch_by_assignment", "assignment_id", "launched_at"),
        Index(
            "launch_by_time",
            "launched_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32},
        ),
    )


# Billing


class Invoice(Base):
    """The charges of one organization, one billing month (its first day), one currency."""

    __tablename__ = "invoice"

    id: Mapped[Id]
    organization_id: Mapped[int] = _of("organization.id")
    month: Mapped[date]
    currency: Mapped[CurrencyCode]
    status: Mapped[InvoiceStatus] = mapped_column(server_default="draft")
    by_hand: Mapped[No]
    year: Mapped[int | None] = mapped_column(Integer)
    serial: Mapped[int | None] = mapped_column(Integer)
    number: Mapped[str | None] = mapped_column(
        Computed(
            "year::text || '-' || lpad(serial::text, greatest(6, length(serial::text)), '0')",
            persisted=True,
        )
    )
    subtotal: Mapped[Sum] = mapped_column(server_default=text("0"))
    tax_percent: Mapped[Decimal] = mapped_column(Numeric(6, 3), server_default=text("0"))
    tax_label: Mapped[str] = mapped_column(server_default="Tax")
    tax: Mapped[Sum] = mapped_column(server_default=text("0"))
    total: Mapped[Sum] = mapped_column(server_default=text("0"))
    seller: Mapped[dict[str, Any] | None]
    buyer: Mapped[dict[str, Any] | None]
    created_at: Mapped[Made]
    finalized_at: Mapped[datetime | None]
    due_on: Mapped[date | None]
    paid_on: Mapped[date | None]
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]

    __table_args__ = (
        _rule("invoice_month_is_its_first_day", "extract(day FROM month) = 1"),
        _rule("invoice_total_adds_up", "total = subtotal + tax"),
        UniqueConstraint("number", name="invoice_number_is_given_once"),
        _rule("invoice_number_counts_from_1", "serial > 0"),
        _rule(
            "invoice_has_seller_and_buyer_when_final",
            "status = 'draft' OR (seller IS NOT NULL AND buyer IS NOT NULL)",
        ),
        _rule(
            "invoice_is_numbered_when_final",
            "(status = 'draft') = (serial IS NULL) AND (serial IS NULL) = (year IS NULL)"
            " AND (serial IS NULL) = (finalized_at IS NULL)"
            " AND (serial IS NULL) = (due_on IS NULL)",
        ),
        _rule("invoice_is_paid_on_a_day", "(status = 'paid') = (paid_on IS NOT NULL)"),
        _rule(
            "invoice_is_voided_for_a_reason",
            "(status = 'void') = (voided_at IS NOT NULL)"
            " AND (status = 'void') = (void_reason IS NOT NULL)",
        ),
        Index(
            "invoice_has_one_draft",
            "organization_id",
            "month",
            "currency",
            unique=True,
            postgresql_where=text("status = 'draft'"),
        ),
        Index("invoice_by_organization", "organization_id", "month"),
    )


class InvoiceSerial(Base):
    """The last invoice number given in a year."""

    __tablename__ = "invoice_serial"

    year: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    last: Mapped[int] = mapped_column(Integer)


class Charge(Base):
    """What a redemption or a paid extension costs the pool's owner; a credit is negative."""

    __tablename__ = "charge"

    id: Mapped[Id]
    kind: Mapped[ChargeKind]
    organization_id: Mapped[int] = _of("organization.id")
    learner_organization_id: Mapped[int] = _of("organization.id")
    course_id: Mapped[int] = _of("course.id")
    pool_id: Mapped[int] = _of("pool.id")
    assignment_id: Mapped[int] = _of("assignment.id")
    credits_id: Mapped[int | None] = _of("charge.id")
    amount: Mapped[Amount]
    currency: Mapped[CurrencyCode]
    occurred_at: Mapped[datetime]
    reason: Mapped[str | None]
    unbilled: Mapped[bool] = mapped_column(server_default=text("true"))

    __table_args__ = (
        _rule(
            "charge_is_owed_and_credit_is_given_back",
            "CASE WHEN kind = 'credit' THEN amount <= 0 ELSE amount >= 0 END",
        ),
        _rule("charge_is_in_the_minor_unit", "amount = round(amount, minor_unit(currency))"),
        _rule("credit_names_the_charge_it_undoes", "(kind = 'credit') = (credits_id IS NOT NULL)"),
        _rule("credit_has_a_reason", "kind <> 'credit' OR reason IS NOT NULL"),
        Index(
            "assignment_is_charged_once",
            "assignment_id",
            text("(CASE WHEN kind = 'redemption' THEN true END)"),
            unique=True,
        ),
        Index("charge_credits", "credits_id", postgresql_where=text("credits_id IS NOT NULL")),
        Index(
            "charge_unbilled",
            "organization_id",
            "occurred_at",
            postgresql_where=text("unbilled"),
        ),
        Index("charge_by_organization", "organization_id", "id"),
        Index("charge_by_pool", "pool_id", "occurred_at"),
        Index(
            "charge_by_time",
            "occurred_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32},
            postgresql_ops={"occurred_at": "timestamptz_minmax_multi_ops"},
        ),
    )


class InvoiceLine(Base):
    """Charges alike in course, pool, kind, service month and unit price."""

    __tablename__ = "invoice_line"

    id: Mapped[Id]
    invoice_id: Mapped[int] = _of("invoice.id")
    course_id: Mapped[int] = _of("course.id")
    pool_id: Mapped[int] = _of("pool.id")
    kind: Mapped[ChargeKind]
    service_month: Mapped[date]
    unit_price: Mapped[Amount]
    quantity: Mapped[int]
    amount: Mapped[Sum]
    course_title: Mapped[str | None]
    pool_name: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint(
            "invoice_id",
            "course_id",
            "pool_id",
            "kind",
            "service_month",
            "unit_price",
            name="invoice_line_is_one_of_its_kind",
        ),
        UniqueConstraint("id", "invoice_id", name="invoice_line_belongs_to_its_invoice"),
        _rule("invoice_line_adds_up", "amount = quantity * unit_price AND quantity > 0"),
    )


class InvoiceShare(Base):
    """How many of a line's charges were for the learners of one organization."""

    __tablename__ = "invoice_share"

    invoice_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    line_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    learner_organization_id: Mapped[int] = _of("organization.id", primary_key=True)
    quantity: Mapped[int]

    __table_args__ = (
        _of_a_line("invoice_share_is_of_its_invoices_line"),
        _rule("invoice_share_counts_charges", "quantity > 0"),
    )


class InvoiceCharge(Base):
    """A charge that an invoice carries; voiding releases it."""

    __tablename__ = "invoice_charge"

    invoice_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    line_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    charge_id: Mapped[int] = _of("charge.id", primary_key=True)
    released_at: Mapped[datetime | None]

    __table_args__ = (
        _of_a_line("invoice_charge_is_on_its_invoices_line"),
        Index(
            "charge_is_billed_once",
            "charge_id",
            unique=True,
            postgresql_where=text("released_at IS NULL"),
        ),
    )


# Telling others


class Endpoint(Base):
    """Where an organization wants to be told of what happens in it and below it."""

    __tablename__ = "endpoint"

    id: Mapped[Id]
    organization_id: Mapped[int] = _of("organization.id")
    url: Mapped[str]
    types: Mapped[list[DeliveryType]] = mapped_column(
        ARRAY(_labelled(DeliveryType, "delivery_type"))
    )
    pool_low: Mapped[int] = mapped_column(Integer, server_default=text("100"))
    pool_expiring_days: Mapped[int] = mapped_column(Integer, server_default=text("14"))
    created_at: Mapped[Made]
    removed_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    rests_until: Mapped[datetime | None]

    __table_args__ = (
        _rule("endpoint_wants_something", "cardinality(types) > 0"),
        _rule("endpoint_calls_a_pool_low", "pool_low BETWEEN 1 AND 1000000000"),
        _rule("endpoint_calls_a_pool_expiring", "pool_expiring_days BETWEEN 1 AND 3650"),
        Index(
            "endpoint_is_registered_once",
            "organization_id",
            "url",
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
    )


class EndpointSecret(Base):
    """A signing secret of an endpoint, encrypted; several sign during a rotation."""

    __tablename__ = "endpoint_secret"

    id: Mapped[Id]
    endpoint_id: Mapped[int] = _of("endpoint.id")
    encrypted: Mapped[bytes]
    created_at: Mapped[Made]
    expires_at: Mapped[datetime | None]

    __table_args__ = (Index("endpoint_secret_by_endpoint", "endpoint_id"),)


class Delivery(Base):
    """The outbox: one thing that happened, for one endpoint."""

    __tablename__ = "delivery"

    id: Mapped[Id]
    endpoint_id: Mapped[int] = _of("endpoint.id")
    type: Mapped[DeliveryType]
    learner_organization_id: Mapped[int | None] = _of("organization.id")
    data: Mapped[dict[str, Any] | None]
    happened_at: Mapped[Made]
    state: Mapped[DeliveryState] = mapped_column(server_default="waiting")
    due_at: Mapped[Made]
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    tried_since: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[str | None]

    __table_args__ = (
        _rule("delivery_ends_once", "(state = 'waiting') = (ended_at IS NULL)"),
        _rule("delivery_failure_has_its_error", "state <> 'failed' OR error IS NOT NULL"),
        _rule("delivery_has_a_body_to_send", "state <> 'waiting' OR data IS NOT NULL"),
        Index(
            "delivery_due",
            "endpoint_id",
            "due_at",
            "id",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("delivery_by_endpoint", "endpoint_id", "id"),
        Index("delivery_failed", "id", postgresql_where=text("state = 'failed'")),
        Index("delivery_to_blank", "ended_at", postgresql_where=text("data IS NOT NULL")),
    )


class PoolAlert(Base):
    """What an endpoint was told of a pool."""

    __tablename__ = "pool_alert"

    endpoint_id: Mapped[int] = _of("endpoint.id", primary_key=True)
    pool_id: Mapped[int] = _of("pool.id", primary_key=True)
    is_low: Mapped[No]
    told_end: Mapped[datetime | None]


# Reports that are kept


class ReportRun(Base):
    """A report that is kept: a notebook, asked about days of an organization and its descendants."""

    __tablename__ = "report_run"

    id: Mapped[Id]
    organization_id: Mapped[int | None] = _of("organization.id")
    invoice_id: Mapped[int | None] = _of("invoice.id")
    notebook: Mapped[str]
    first_day: Mapped[date]
    last_day: Mapped[date]
    format: Mapped[ReportFormat] = mapped_column(server_default="html")
    asked_by: Mapped[str]
    state: Mapped[ReportState] = mapped_column(server_default="queued")
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    worked: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    cells: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    created_at: Mapped[Made]
    worked_at: Mapped[datetime | None]
    data_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    page: Mapped[str | None] = mapped_column(deferred=True)
    pdf: Mapped[bytes | None] = mapped_column(deferred=True)
    traceback: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("invoice_id", "notebook", name="report_is_made_once_for_an_invoice"),
        _rule("report_has_days_in_order", "first_day <= last_day"),
        _rule("report_works_the_cells_it_has", "worked BETWEEN 0 AND cells"),
        _rule("report_is_attended_while_it_runs", "state <> 'running' OR worked_at IS NOT NULL"),
        _rule("report_ends_once", "(state IN ('done', 'failed')) = (finished_at IS NOT NULL)"),
        _rule(
            "report_that_is_done_has_its_page",
            "(state = 'done') = (page IS NOT NULL) AND (state <> 'done' OR data_at IS NOT NULL)",
        ),
        _rule(
            "report_is_printed_where_that_was_asked",
            "pdf IS NULL OR format = 'pdf' AND page IS NOT NULL",
        ),
        _rule("report_failure_has_its_traceback", "(state = 'failed') = (traceback IS NOT NULL)"),
        Index(
            "report_run_unfinished",
            text("(invoice_id IS NOT NULL)"),
            "id",
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        Index(
            "report_run_unprinted",
            "id",
            postgresql_where=text("state = 'done' AND format = 'pdf' AND pdf IS NULL"),
        ),
        Index("report_run_by_organization", "organization_id", "id"),
    )


# The schedule, the history, and who may read reports


class ScheduleRun(Base):
    """A scheduled job's run for one period, written in the transaction of its work."""

    __tablename__ = "schedule_run"

    job: Mapped[str] = mapped_column(primary_key=True)
    period: Mapped[datetime] = mapped_column(primary_key=True)
    ran_at: Mapped[Made]


class History(Base):
    """Who did what to which thing, and when; append-only."""

    __tablename__ = "history"

    id: Mapped[Id]
    at: Mapped[Made]
    actor: Mapped[str]
    organization_id: Mapped[int | None] = _of("organization.id")
    action: Mapped[str]
    thing: Mapped[str]
    thing_id: Mapped[int]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default="{}")

    __table_args__ = (
        Index("history_by_thing", "thing", "thing_id", "id"),
        Index("history_by_organization", "organization_id", "id"),
        Index("history_by_actor", "actor", "id"),
        Index("history_by_action", "action", "id"),
        Index(
            "history_by_time",
            "at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32},
        ),
    )


class ReportLogin(Base):
    """A report's own database login, and the organization whose tree it may read."""

    __tablename__ = "report_login"

    login: Mapped[str] = mapped_column(Name, primary_key=True)
    organization_id: Mapped[int] = _of("organization.id")
