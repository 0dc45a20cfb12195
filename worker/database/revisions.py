"""Which revision the database is at, and whether this code runs with it.

A revision is a migration's number. Old code cannot read new migrations, so each migration records in
the database the oldest code that runs with it.
"""

from pathlib import Path
from typing import NamedTuple

from psycopg.errors import UndefinedFunction
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from worker import errors

MIGRATIONS = Path(__file__).parents[2] / "migrations"

# The revision of this code: its newest migration. Read once, so that files replaced under a running
# process do not change it.
CODE = max(path.name[:4] for path in MIGRATIONS.glob("versions/[0-9]*.py"))

# Any login may read this. `migrating.NOTE` writes the comment.
STANDING = text(
    "SELECT schema_revision(), obj_description(to_regclass('public.alembic_version'), 'pg_class')"
)
NOTE = "The oldest code that runs with this database: "


class NotMadeError(errors.KeypoolError):
    """The database is not keypool's yet; run “keypool db init”."""


class DatabaseTooOldError(errors.RefusedError):
    """The database is older than this keypool."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"The database is at revision {revision} and this keypool needs {CODE}; "
            "run “keypool db upgrade”."
        )


class DatabaseTooNewError(errors.RefusedError):
    """The database is newer than this keypool can bear."""

    def __init__(self, revision: str, oldest_code: str = "") -> None:
        needs = f", which needs a keypool of revision {oldest_code} or newer" if oldest_code else ""
        super().__init__(
            f"The database is at revision {revision}{needs}, and this keypool is of {CODE}; "
            "use the version that upgraded the database, or a later one."
        )


class Standing(NamedTuple):
    """A database's revision, and the oldest code that runs with it."""

    revision: str
    oldest_code: str

    def refusal(self) -> errors.KeypoolError | None:
        """Say why this code does not run with it; None if it does."""
        if self.revision < CODE:
            return DatabaseTooOldError(self.revision)
        if self.oldest_code > CODE:
            return DatabaseTooNewError(self.revision, self.oldest_code)
        return None


def standing(session: Session) -> Standing:
    """Read a database's revision and the oldest code that runs with it.

    Raises:
        NotMadeError: the database is not keypool's.
    """
    try:
        revision, note = session.execute(STANDING).one()
    except ProgrammingError as error:
        if isinstance(error.orig, UndefinedFunction):
            raise NotMadeError from None
        raise
    if revision is None:
        raise NotMadeError
    return Standing(revision, (note or "").removeprefix(NOTE))


def require(session: Session) -> None:
    """Refuse a database that this code does not run with.

    Raises:
        NotMadeError: the database is not keypool's.
        DatabaseTooOldError: a migration is due.
        DatabaseTooNewError: a migration that this code does not know requires newer code.
    """
    if refusal := standing(session).refusal():
        raise refusal
