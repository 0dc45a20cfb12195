"""How alembic runs migrations: over the connection that worker.database.migrating hands it."""

from alembic import context

from worker.database import migrating

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("Run “keypool db upgrade”: it has the right timeouts, and waits for its turn.")

context.configure(
    connection=connection,
    transaction_per_migration=True,
    on_version_apply=lambda ctx, heads, **_: migrating.note_oldest_code(ctx.connection, max(heads)),
)
with context.begin_transaction():
    context.run_migrations()
