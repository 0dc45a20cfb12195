"""Charges and assignments refer to their pool, its course and its owner by one key; attempts by their tally."""

from alembic import op

revision = "0083"
down_revision = "0082"
oldest_code = "0055"
transactional = False

# What the pool refers to itself, or what the tally of attempts refers to.
REPEATED = {
    "assignment": ("pool_id", "course_id"),
    "charge": ("pool_id", "course_id", "organization_id"),
    "redemption": ("pool_id", "organization_id"),
}


def upgrade() -> None:
    """Add composite keys, validate them, drop what they repeat; older code writes the same, and still runs.

    To validate reads `assignment` and `charge` once, and blocks nobody who writes to them.
    """
    op.execute(POOLS_KEYS)
    for table, name, keys in COMPOSITE:
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name},"
            f" ADD CONSTRAINT {name} FOREIGN KEY {keys} ON DELETE RESTRICT NOT VALID"
        )
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
    for table, columns in REPEATED.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_{column}_fkey")
    op.execute(ATTEMPTS_STAY)


# Few rows, so that their indexes are built at once.
POOLS_KEYS = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'pool_is_for_one_course') THEN
        ALTER TABLE pool
            ADD CONSTRAINT pool_is_for_one_course               UNIQUE (id, course_id),
            ADD CONSTRAINT pool_is_for_one_course_and_one_owner UNIQUE (id, course_id, organization_id);
    END IF;
END
$$
"""

COMPOSITE = (
    (
        "assignment",
        "assignment_is_to_its_pools_course",
        "(pool_id, course_id) REFERENCES pool (id, course_id)",
    ),
    (
        "charge",
        "charge_is_owed_by_its_pools_owner",
        "(pool_id, course_id, organization_id) REFERENCES pool (id, course_id, organization_id)",
    ),
)

ATTEMPTS_STAY = """
CREATE OR REPLACE FUNCTION refuse_rewriting_an_attempt() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an attempt stays as it was decided'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'attempt_stays_as_decided';
END
$$;

CREATE OR REPLACE TRIGGER attempt_stays_as_decided
    BEFORE UPDATE OF event_id, organization_id, learner_organization_id, key_id, pool_id, assignment_id,
                     outcome, received_at
    ON redemption FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_an_attempt();
"""
