"""A pool's redemptions of 90 days are counted without reading its attempts."""

from worker.database import steps

revision = "0077"
down_revision = "0076"
oldest_code = "0055"
transactional = False


def upgrade() -> None:
    """Index the tally by pool; older code counts the latest attempts, and still runs."""
    steps.build_index(
        "attempt_tally_by_pool",
        "ON attempt_tally (pool_id, tried_at) WHERE pool_id IS NOT NULL",
    )
