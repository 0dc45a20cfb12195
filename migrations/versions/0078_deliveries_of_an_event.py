"""A delivery knows the event whose decision it tells."""

from pathlib import Path

from alembic import op

from worker.database import steps

revision = "0078"
down_revision = "0077"
oldest_code = "0055"
transactional = False

ADD = """
    ALTER TABLE delivery
        ADD COLUMN IF NOT EXISTS event_id bigint,
        DROP CONSTRAINT IF EXISTS delivery_event_id_fkey,
        ADD CONSTRAINT delivery_event_id_fkey
            FOREIGN KEY (event_id) REFERENCES event ON DELETE RESTRICT NOT VALID
"""
OF_EARLIER = """
    UPDATE delivery SET event_id = event.id FROM event
     WHERE delivery.type = 'redemption.decided' AND delivery.event_id IS NULL
       AND event.id = (delivery.data ->> 'event')::bigint
       AND delivery.id > :after AND delivery.id <= :upto
"""


def upgrade() -> None:
    """Add the column, have the trigger fill it, and fill it where the body is still kept."""
    op.execute(ADD)
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
    steps.fill("delivery", OF_EARLIER)
    op.execute("ALTER TABLE delivery VALIDATE CONSTRAINT delivery_event_id_fkey")
    steps.build_index("delivery_by_event", "ON delivery (event_id) WHERE event_id IS NOT NULL")
