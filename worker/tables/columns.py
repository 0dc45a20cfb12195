"""How Python's types are kept in columns, and the kinds of column that many tables have."""

import re
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import (
    ARRAY,
    CHAR,
    TIMESTAMP,
    BigInteger,
    Computed,
    Enum,
    FetchedValue,
    ForeignKey,
    Identity,
    LargeBinary,
    Numeric,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import (
    DeclarativeBase,
    InstrumentedAttribute,
    Mapped,
    MappedColumn,
    mapped_column,
)

from worker.tables import labels


def labelled(enum: type[StrEnum]) -> Enum:
    """Give the enum type of schema.sql that has the class's labels: key_state for KeyState."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.__name__).lower()
    return Enum(enum, name=name, values_callable=lambda enum: [label.value for label in enum])


LABELS: dict[Any, Enum] = {
    enum: labelled(enum)
    for enum in vars(labels).values()
    if isinstance(enum, type) and issubclass(enum, StrEnum) and enum is not StrEnum
}


class Base(DeclarativeBase):
    """What every table has in common: how Python's types are kept."""

    type_annotation_map = {  # SQLAlchemy reads it from the class
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
    } | LABELS


class Versioned:
    """A table of things that people edit: of each row, which transaction wrote it last.

    An UPDATE gives that back with what it wrote; what is written past the mapped class is to be
    read again.
    """

    xmin: Mapped[str] = mapped_column(
        system=True, server_default=FetchedValue(), server_onupdate=FetchedValue()
    )
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012  # SQLAlchemy reads it from the class


Id = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
Made = Annotated[datetime, mapped_column(server_default=text("clock_now()"))]
Amount = Annotated[Decimal, mapped_column(Numeric(14, 4))]
Sum = Annotated[Decimal, mapped_column(Numeric(16, 4))]
CurrencyCode = Annotated[str, mapped_column(CHAR(3))]
Words = Annotated[str, mapped_column(server_default="")]
Several = Annotated[list[str], mapped_column(ARRAY(Text), server_default="{}")]
No = Annotated[bool, mapped_column(server_default=text("false"))]


def of(target: str | InstrumentedAttribute[Any], *, primary_key: bool = False) -> MappedColumn[Any]:
    """Make a column that names a row of another table; its own table is named as text."""
    return mapped_column(ForeignKey(target, ondelete="RESTRICT"), primary_key=primary_key)


def lower(column: str) -> MappedColumn[Any]:
    """Make the column that PostgreSQL fills with another one's text in lower case."""
    return mapped_column(Computed(f"lower({column})", persisted=True))
