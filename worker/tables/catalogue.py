"""What is taught, and what it costs."""

from datetime import datetime

from sqlalchemy.orm import Mapped

from worker.tables.columns import Amount, Base, CurrencyCode, Id, Made, Versioned, Words, of
from worker.tables.tenancy import Currency, Organization


class Course(Versioned, Base):
    """What is taught."""

    __tablename__ = "course"

    id: Mapped[Id]
    code: Mapped[str]
    title: Mapped[str]
    archived_at: Mapped[datetime | None]
    created_at: Mapped[Made]
    launch_url: Mapped[Words]
    launch_secret_encrypted: Mapped[bytes | None]


class Price(Base):
    """What a redemption of a course costs from an instant on; no organization: the list price."""

    __tablename__ = "price"

    id: Mapped[Id]
    course_id: Mapped[int] = of(Course.id)
    organization_id: Mapped[int | None] = of(Organization.id)
    amount: Mapped[Amount]
    currency: Mapped[CurrencyCode] = of(Currency.code)
    valid_from: Mapped[datetime]
    created_at: Mapped[Made]
    valid_until: Mapped[datetime | None]
