"""A pool's history has the acts on its keys, batches and distributions."""

from worker.database import steps

revision = "0074"
down_revision = "0073"
oldest_code = "0055"
transactional = False


def upgrade() -> None:
    """Index the pool that acts on its parts name; older code names none, and still runs."""
    steps.build_index(
        "history_by_pool",
        "ON history ((detail ->> 'pool'), id) WHERE detail ->> 'pool' IS NOT NULL",
    )
