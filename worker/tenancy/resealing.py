"""Encrypting anew, with the newest key in KEYPOOL_SECRET_KEY, what an older key encrypted."""

from collections.abc import Iterator, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import Column, ColumnElement, LargeBinary, Table, select, tuple_, update
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database.paging import Selected
from worker.settings import settings
from worker.tables import catalogue, outgoing, redemption, tenancy
from worker.tables.columns import Base
from worker.tenancy import secrets, web_keys

CHUNK = 500  # rows read at once
TABLES = (
    catalogue,
    outgoing,
    redemption,
    tenancy,
)  # the tables that have such columns are known by now


class Resealed(TypedDict):
    """What was encrypted anew."""

    encrypted_anew: int
    """Secrets and stored answers that are encrypted with the newest key now."""
    without_key: int
    """Those that no key in KEYPOOL_SECRET_KEY opens; they are left as they are."""


class Sealed(TypedDict):
    """With which keys the rows of one table are encrypted."""

    table: str
    old: int
    """Rows that only an older key opens."""
    without_key: int
    """Rows that no key opens."""


def reencrypt(session: Session) -> Resealed:
    """Encrypt everything with the newest key that is not yet; idempotent, whatever happens meanwhile."""
    anew = lost = 0
    for column in columns():
        for row in _rows(session, column):
            if _opens(_newest()[:1], row.sealed):
                continue
            try:
                sealed = secrets.encrypt(secrets.decrypt(row.sealed))
            except errors.SettingsError:
                lost += 1
                continue
            unchanged = [_is(column.table, row), column == row.sealed]
            session.execute(update(column.table).where(*unchanged).values({column: sealed}))
            anew += 1
    web_keys.tell(session)
    return {"encrypted_anew": anew, "without_key": lost}


def sealed(session: Session) -> list[Sealed]:
    """Count, for each table with secrets, the rows that the newest key does not open."""
    return [_sealed(session, column) for column in columns()]


def notes(session: Session) -> list[str]:
    """Say in sentences what an older key still encrypts, or that older keys can be removed."""
    counted = sealed(session)
    old = [f"{table['old']:,} in {table['table']}" for table in counted if table["old"]]
    lost = [
        f"{table['without_key']:,} in {table['table']}" for table in counted if table["without_key"]
    ]
    told = [
        f"An old key in KEYPOOL_SECRET_KEY still encrypts secrets ({', '.join(old)}): run “keypool "
        "secrets reencrypt”, then remove it."
        for _ in old[:1]
    ]
    told += [
        f"No key in KEYPOOL_SECRET_KEY opens some secrets: {', '.join(lost)}." for _ in lost[:1]
    ]
    if not told and len(settings().secret_key) > 1:
        told.append(
            "Nothing is encrypted with an old key: remove all but the first from KEYPOOL_SECRET_KEY."
        )
    return told


def columns() -> list[Column[Any]]:
    """Give the columns that hold encrypted bytes: by their name."""
    return [
        column
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.name.endswith("encrypted") and isinstance(column.type, LargeBinary)
    ]


def _sealed(session: Session, column: Column[Any]) -> Sealed:
    old = lost = 0
    for row in _rows(session, column):
        if _opens(_newest(), row.sealed):
            continue
        if _opens(secrets.ciphers(), row.sealed):
            old += 1
        else:
            lost += 1
    return {"table": column.table.name, "old": old, "without_key": lost}


def _newest() -> list[Fernet]:
    """Give the newest key's ciphers: what encrypts now, and what the first release made of that key."""
    known = secrets.ciphers()
    return [known[0], known[len(known) // 2]]


def _opens(ciphers: list[Fernet], sealed: bytes) -> bool:
    for cipher in ciphers:
        try:
            cipher.decrypt(sealed)
        except InvalidToken:
            continue
        return True
    return False


def _rows(session: Session, column: Column[Any]) -> Iterator[Selected]:
    """Read a column's rows in the order of their keys, a chunk at a time."""
    keys = list(column.table.primary_key.columns)
    statement = select(*keys, column.label("sealed")).where(column.is_not(None)).order_by(*keys)
    after: ColumnElement[bool] | None = None
    while True:
        chunk = statement if after is None else statement.where(after)
        rows: Sequence[Selected] = session.execute(chunk.limit(CHUNK)).all()
        yield from rows
        if len(rows) < CHUNK:
            return
        after = tuple_(*keys) > tuple_(*rows[-1][: len(keys)])


def _is(table: Table, row: Selected) -> ColumnElement[bool]:
    keys = list(table.primary_key.columns)
    return tuple_(*keys) == tuple_(*row[: len(keys)])
