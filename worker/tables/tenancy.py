"""Organizations and their tree, who may come in, and who did what."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Computed, ForeignKey, Integer, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from worker.tables.columns import Base, CurrencyCode, Id, Made, No, Several, Versioned, Words, of
from worker.tables.labels import RedeemPage, Role


class Currency(Base):
    """A currency (ISO 4217) and how many decimals its amounts have."""

    __tablename__ = "currency"

    code: Mapped[CurrencyCode] = mapped_column(primary_key=True)
    minor_unit: Mapped[int] = mapped_column(Integer)


class Organization(Versioned, Base):
    """A tenant; organizations form a tree."""

    __tablename__ = "organization"

    id: Mapped[Id]
    name: Mapped[str]
    parent_id: Mapped[int | None] = of("organization.id")
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    currency: Mapped[CurrencyCode] = mapped_column(
        ForeignKey(Currency.code, ondelete="RESTRICT"), server_default="EUR"
    )
    locale: Mapped[str] = mapped_column(server_default="en")
    legal_name: Mapped[Words]
    address: Mapped[Words]
    tax_id: Mapped[Words]
    payment_terms_days: Mapped[int] = mapped_column(Integer, server_default=text("30"))
    created_at: Mapped[Made]
    street: Mapped[Words]
    postcode: Mapped[Words]
    city: Mapped[Words]
    country: Mapped[Words]
    electronic_address: Mapped[Words]
    buyer_reference: Mapped[Words]
    purchase_order: Mapped[Words]
    billing_email: Mapped[Words]
    sender_name: Mapped[Words]
    reply_to: Mapped[Words]
    colour: Mapped[Words]
    slug: Mapped[Words]
    redeem_page: Mapped[RedeemPage] = mapped_column(server_default="off")
    redeem_domains: Mapped[Several]
    redeem_languages: Mapped[Several]
    redeem_text: Mapped[Words]
    support_email: Mapped[Words]
    second_factor: Mapped[No]


class Logo(Base):
    """An organization's logo, as a PNG."""

    __tablename__ = "organization_logo"

    organization_id: Mapped[int] = of(Organization.id, primary_key=True)
    content: Mapped[bytes]
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)


class MailTemplate(Base):
    """An organization's own words for a mail; never rewritten, but replaced by a row of its name."""

    __tablename__ = "mail_template"

    id: Mapped[Id]
    organization_id: Mapped[int] = of(Organization.id)
    name: Mapped[str]
    subject: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[Made]
    replaced_at: Mapped[datetime | None]


class OrganizationAncestry(Base):
    """An organization's ancestor, itself included at distance 0; kept by triggers."""

    __tablename__ = "organization_ancestry"

    ancestor_id: Mapped[int] = mapped_column(
        ForeignKey(Organization.id, ondelete="CASCADE"), primary_key=True
    )
    descendant_id: Mapped[int] = mapped_column(
        ForeignKey(Organization.id, ondelete="CASCADE"), primary_key=True
    )
    distance: Mapped[int] = mapped_column(Integer)


class TaxRate(Base):
    """A tax rate of what an organization is charged, from an instant on."""

    __tablename__ = "tax_rate"

    id: Mapped[Id]
    organization_id: Mapped[int] = of(Organization.id)
    label: Mapped[str] = mapped_column(server_default="Tax")
    percent: Mapped[Decimal] = mapped_column(Numeric(6, 3))
    category: Mapped[str] = mapped_column(server_default="S")
    exemption: Mapped[Words]
    valid_from: Mapped[datetime | None]


class Token(Base):
    """An API credential: shown once, kept as a hash. The operator's belong to no organization."""

    __tablename__ = "token"

    id: Mapped[Id]
    organization_id: Mapped[int | None] = of(Organization.id)
    name: Mapped[str]
    role: Mapped[Role]
    hash: Mapped[bytes] = mapped_column(deferred=True)
    created_at: Mapped[Made]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    made_by: Mapped[Words]


class User(Base):
    """A person who signs in to the console; the operator's belong to no organization."""

    __tablename__ = "console_user"

    id: Mapped[Id]
    organization_id: Mapped[int | None] = of(Organization.id)
    email: Mapped[str]
    role: Mapped[Role]
    password_hash: Mapped[str | None] = mapped_column(deferred=True)
    created_at: Mapped[Made]
    disabled_at: Mapped[datetime | None]
    totp_encrypted: Mapped[bytes | None] = mapped_column(deferred=True)
    totp_step: Mapped[int] = mapped_column(
        # Given, or an inserted row's would be read back, which the web may not.
        default=0,
        server_default=text("0"),
        deferred=True,
    )
    vouched_by: Mapped[str | None]
    has_second_factor: Mapped[bool] = mapped_column(
        Computed("totp_encrypted IS NOT NULL", persisted=True)
    )


class ConsoleSession(Base):
    """One browser in which a user is signed in, known by the hash of its cookie's id."""

    __tablename__ = "console_session"

    id: Mapped[Id]
    user_id: Mapped[int] = of(User.id)
    hash: Mapped[bytes] = mapped_column(deferred=True)
    device: Mapped[bytes] = mapped_column(deferred=True)
    client: Mapped[str]
    browser: Mapped[Words]
    created_at: Mapped[Made]
    confirmed_at: Mapped[Made]
    last_seen_at: Mapped[Made]
    ends_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    second_factor_at: Mapped[datetime | None]


class IdentityProvider(Base):
    """Where an organization's users sign in by OpenID Connect."""

    __tablename__ = "identity_provider"

    id: Mapped[Id]
    organization_id: Mapped[int] = of(Organization.id)
    issuer: Mapped[str]
    client_id: Mapped[str]
    secret_encrypted: Mapped[bytes]
    role_claim: Mapped[Words]
    roles: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    is_only: Mapped[No]
    created_at: Mapped[Made]
    ended_at: Mapped[datetime | None]


class IdentityDomain(Base):
    """A domain of addresses for which an identity provider speaks."""

    __tablename__ = "identity_domain"

    domain: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[int | None] = of(IdentityProvider.id)


class RecoveryCode(Base):
    """A code that stands in once for a user's second factor, as a hash."""

    __tablename__ = "recovery_code"

    id: Mapped[Id]
    user_id: Mapped[int] = of(User.id)
    hash: Mapped[bytes] = mapped_column(deferred=True)
    ended_at: Mapped[datetime | None]


class SignInLink(Base):
    """A one-time link by which a user chooses a password, known by the hash of its token."""

    __tablename__ = "sign_in_link"

    id: Mapped[Id]
    user_id: Mapped[int] = of(User.id)
    hash: Mapped[bytes] = mapped_column(deferred=True)
    created_at: Mapped[Made]
    ends_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class FirstStart(Base):
    """The first start, in one row: the first operator's one-time link, and sample data that was asked for."""

    __tablename__ = "first_start"

    only_one: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    hash: Mapped[bytes | None] = mapped_column(deferred=True)
    ends_at: Mapped[datetime | None] = mapped_column(deferred=True)
    samples_wanted_at: Mapped[datetime | None]
    samples_made_at: Mapped[datetime | None]


class Answer(Base):
    """What was answered to a request with an Idempotency-Key, encrypted; None: forgotten."""

    __tablename__ = "answer"

    token_id: Mapped[int] = of(Token.id, primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[bytes]
    encrypted: Mapped[bytes | None]
    answered_at: Mapped[Made]


class History(Base):
    """Who did what to which thing, and when; append-only."""

    __tablename__ = "history"

    id: Mapped[Id]
    at: Mapped[Made]
    actor: Mapped[str]
    organization_id: Mapped[int | None] = of(Organization.id)
    action: Mapped[str]
    thing: Mapped[str]
    thing_id: Mapped[int]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
