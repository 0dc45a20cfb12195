"""Endpoints are told of reports that were made or failed."""

from alembic import op

revision = "0069"
down_revision = "0068"
oldest_code = "0055"


def upgrade() -> None:
    """Add two types of deliveries, and what writes them.

    Older code runs with them, and cannot read endpoints that ask for them: those are asked for once all is new.
    """
    op.execute("ALTER TYPE delivery_type ADD VALUE 'report.made'")
    op.execute("ALTER TYPE delivery_type ADD VALUE 'report.failed'")
    op.execute("""
-- What became of a report that is kept, to those who listen at its organization or above. One on all
-- organizations is told to nobody.
CREATE FUNCTION tell_report() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    told CONSTANT delivery_type := CASE NEW.state WHEN 'done' THEN 'report.made' ELSE 'report.failed' END;
BEGIN
    INSERT INTO delivery (endpoint_id, type, data)
    SELECT endpoint.id, told, jsonb_build_object(
               'id', NEW.id::text, 'notebook', NEW.notebook, 'organization', organization.name,
               'from', NEW.first_day, 'to', NEW.last_day, 'format', NEW.format,
               'finished_at', iso_instant(NEW.finished_at))
      FROM organization_ancestry AS above
      JOIN endpoint ON endpoint.organization_id = above.ancestor_id AND removed_at IS NULL
      JOIN organization ON organization.id = NEW.organization_id
     WHERE above.descendant_id = NEW.organization_id AND told = ANY (endpoint.types)
     ORDER BY endpoint.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER report_is_told AFTER UPDATE OF state ON report_run
    FOR EACH ROW WHEN (NEW.state IN ('done', 'failed') AND NEW.state <> OLD.state)
    EXECUTE FUNCTION tell_report();
""")
