"""How alembic reaches the database: over the connection it is handed, else as the owner."""

from alembic import context
from sqlalchemy import Connection

from worker.database import connections


def migrate(connection: Connection) -> None:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


if handed := context.config.attributes.get("connection"):
    migrate(handed)
else:
    with connections.engine().begin() as connection:
        migrate(connection)
