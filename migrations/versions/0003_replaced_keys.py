"""Keys that were given in another's place (K11)."""

from alembic import op

revision = "0003"
down_revision = "0002"
oldest_code = "0001"


def upgrade() -> None:
    op.execute("""
CREATE TABLE key_replacement (
    old_key_id      bigint      PRIMARY KEY REFERENCES key ON DELETE RESTRICT,
    new_key_id      bigint      NOT NULL REFERENCES key    ON DELETE RESTRICT,
    distribution_id bigint      NOT NULL REFERENCES distribution ON DELETE RESTRICT,
    reason          text        NOT NULL,
    replaced_at     timestamptz NOT NULL DEFAULT clock_now(),

    CONSTRAINT key_takes_one_place        UNIQUE (new_key_id),
    CONSTRAINT key_takes_anothers_place   CHECK (old_key_id <> new_key_id),
    CONSTRAINT replacement_has_a_reason
        CHECK (reason = btrim(reason) AND reason <> '' AND length(reason) <= 1000)
);

ALTER TABLE key_replacement ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy ON key_replacement TO keypool_web
    USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM key WHERE key.id = old_key_id));
GRANT SELECT, INSERT ON key_replacement TO keypool_web;
GRANT UPDATE (reason) ON key_replacement TO keypool_web;
    """)
