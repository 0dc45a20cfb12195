"""The lake: what is in it, what changed since, and what its files have in place of names."""

from alembic import op

revision = "0065"
down_revision = "0064"
oldest_code = "0055"
changes = {"lock": "builds of the lake take turns"}


def upgrade() -> None:
    """Add the lake's tables, the triggers that note late facts, and views for the reports' logins."""
    op.execute("INSERT INTO lock VALUES ('lake')")
    op.execute(r"""
CREATE TABLE lake (
    single    boolean PRIMARY KEY DEFAULT true,
    announced date    NOT NULL,
    written   date    NOT NULL,

    CONSTRAINT lake_is_one                     CHECK (single),
    CONSTRAINT lake_announces_before_it_writes CHECK (written <= announced)
);

CREATE TABLE lake_month (
    organization_id bigint NOT NULL REFERENCES organization ON DELETE RESTRICT,
    month           date   NOT NULL,
    version         uuid   NOT NULL,

    PRIMARY KEY (organization_id, month),
    CONSTRAINT lake_month_begins_on_its_first_day CHECK (extract(day FROM month) = 1)
);

CREATE TABLE lake_change (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint NOT NULL REFERENCES organization ON DELETE RESTRICT,
    month           date   NOT NULL,
    transaction     xid8   NOT NULL DEFAULT pg_current_xact_id()
);

CREATE INDEX lake_change_by_organization ON lake_change (organization_id, month);

CREATE TABLE lake_labels (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint NOT NULL REFERENCES organization ON DELETE RESTRICT,
    labels          text[] NOT NULL,

    CONSTRAINT lake_labels_are_numbered_once UNIQUE (organization_id, labels)
);

CREATE TABLE lake_pool (
    organization_id bigint NOT NULL REFERENCES organization ON DELETE RESTRICT,
    pool_id         bigint NOT NULL REFERENCES pool         ON DELETE RESTRICT,

    PRIMARY KEY (organization_id, pool_id)
);

ALTER TABLE lake        ENABLE ROW LEVEL SECURITY;
ALTER TABLE lake_month  ENABLE ROW LEVEL SECURITY;
ALTER TABLE lake_change ENABLE ROW LEVEL SECURITY;
ALTER TABLE lake_labels ENABLE ROW LEVEL SECURITY;
ALTER TABLE lake_pool   ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION note_late(organizations bigint[], instants timestamptz[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    INSERT INTO lake_change (organization_id, month)
    SELECT DISTINCT late.organization_id, late.month
      FROM (SELECT fact.organization_id,
                   date_trunc('month', fact.at AT TIME ZONE organization.time_zone)::date AS month
              FROM unnest(organizations, instants) AS fact (organization_id, at)
              JOIN organization ON organization.id = fact.organization_id) AS late
      JOIN lake ON late.month < lake.announced
     WHERE NOT EXISTS (SELECT FROM lake_change AS noted
                        WHERE noted.organization_id = late.organization_id AND noted.month = late.month
                          AND noted.transaction = pg_current_xact_id());
END;

CREATE FUNCTION note_late_facts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    upto constant timestamptz := (
        SELECT announced::timestamp AT TIME ZONE 'UTC' + interval '14 hours' FROM lake);
    organizations bigint[];
    instants      timestamptz[];
BEGIN
    IF upto IS NULL THEN
        RETURN NULL;
    ELSIF TG_TABLE_NAME = 'redemption' OR TG_TABLE_NAME = 'event' THEN
        SELECT array_agg(organization_id), array_agg(received_at) INTO organizations, instants
          FROM after WHERE received_at < upto;
    ELSIF TG_TABLE_NAME = 'launch' THEN
        SELECT array_agg(organization_id), array_agg(launched_at) INTO organizations, instants
          FROM after WHERE launched_at < upto;
    ELSIF TG_TABLE_NAME = 'charge' THEN
        SELECT array_agg(organization_id), array_agg(occurred_at) INTO organizations, instants
          FROM after WHERE occurred_at < upto;
    ELSIF TG_OP = 'INSERT' THEN
        SELECT array_agg(organization_id), array_agg(redeemed_at) INTO organizations, instants
          FROM after WHERE redeemed_at < upto;
    ELSE  -- an assignment that only expired is none other in the lake
        SELECT array_agg(after.organization_id), array_agg(after.redeemed_at) INTO organizations, instants
          FROM after JOIN before USING (id)
         WHERE after.redeemed_at < upto
           AND (after.learner_id, after.undone, after.expires_at, after.cancelled_at)
               IS DISTINCT FROM (before.learner_id, before.undone, before.expires_at, before.cancelled_at);
    END IF;
    IF organizations IS NOT NULL THEN
        PERFORM note_late(organizations, instants);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION note_changed_key() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    organizations bigint[];
    instants      timestamptz[];
BEGIN
    IF NOT EXISTS (SELECT FROM lake) THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(organization_id), array_agg(at) INTO organizations, instants
      FROM (SELECT pool.organization_id, distributed_at AS at FROM distribution JOIN pool ON pool.id = pool_id
             WHERE distribution.id IN (OLD.distribution_id, NEW.distribution_id)
            UNION ALL
            SELECT organization_id, received_at FROM redemption WHERE key_id = NEW.id
            UNION ALL
            SELECT organization_id, redeemed_at FROM assignment WHERE key_id = NEW.id) AS fact;
    IF organizations IS NOT NULL THEN
        PERFORM note_late(organizations, instants);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION note_changed_time_zone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO lake_change (organization_id, month)
    SELECT DISTINCT organization_id, (month + shift * interval '1 month')::date
      FROM lake_month, generate_series(-1, 1) AS shift, lake
     WHERE organization_id = NEW.id AND month + shift * interval '1 month' < announced;
    RETURN NULL;
END
$$;

CREATE TRIGGER late_redemptions_are_noted AFTER INSERT ON redemption
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER late_settled_events_are_noted AFTER UPDATE ON event
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER late_assignments_are_noted AFTER INSERT ON assignment
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER changed_assignments_are_noted AFTER UPDATE ON assignment
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER late_launches_are_noted AFTER INSERT ON launch
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER changed_launches_are_noted AFTER UPDATE ON launch
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER late_charges_are_noted AFTER INSERT ON charge
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER changed_charges_are_noted AFTER UPDATE ON charge
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_late_facts();
CREATE TRIGGER changed_keys_are_noted AFTER UPDATE OF state, distribution_id, labels ON key
    FOR EACH ROW WHEN (OLD.labels IS DISTINCT FROM NEW.labels
                       OR OLD.distribution_id IS NOT NULL
                          AND (OLD.distribution_id IS DISTINCT FROM NEW.distribution_id
                               OR OLD.state <> NEW.state AND NEW.state = 'retired'))
    EXECUTE FUNCTION note_changed_key();
CREATE TRIGGER changed_time_zone_is_noted AFTER UPDATE OF time_zone ON organization
    FOR EACH ROW WHEN (OLD.time_zone <> NEW.time_zone) EXECUTE FUNCTION note_changed_time_zone();

REVOKE ALL ON FUNCTION note_late(bigint[], timestamptz[]), note_late_facts(), note_changed_key(),
    note_changed_time_zone() FROM PUBLIC;

CREATE VIEW report.lake WITH (security_barrier) AS SELECT written, clock_now() AS now FROM lake;
COMMENT ON VIEW report.lake IS
    'Up to when the lake has been written; no row where there is no lake.';
COMMENT ON COLUMN report.lake.written IS 'The first day of the first month that the lake does not have.';
COMMENT ON COLUMN report.lake.now IS 'This moment, by the one clock.';

CREATE VIEW report.lake_month WITH (security_barrier) AS
SELECT lake_month.organization_id, lake_month.month, lake_month.version
  FROM lake_month
 WHERE lake_month.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.lake_month IS
    'One row a month of an organization in sight of which the lake has files.';
COMMENT ON COLUMN report.lake_month.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.lake_month.month IS 'The month, by its first day, in the organization''s time zone.';
COMMENT ON COLUMN report.lake_month.version IS 'The version of its files, as in their manifest.';

CREATE VIEW report.lake_change WITH (security_barrier) AS
SELECT DISTINCT lake_change.organization_id, lake_change.month
  FROM lake_change
 WHERE lake_change.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.lake_change IS
    'One row a month of an organization in sight that has changed since the lake''s files were written.';
COMMENT ON COLUMN report.lake_change.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.lake_change.month IS 'The month, by its first day, in the organization''s time zone.';

CREATE VIEW report.lake_labels WITH (security_barrier) AS
SELECT lake_labels.id AS label_set, lake_labels.labels
  FROM lake_labels
 WHERE lake_labels.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.lake_labels IS
    'The labels behind each number that the lake''s files have in their place.';
COMMENT ON COLUMN report.lake_labels.label_set IS 'The number in the lake''s files.';
COMMENT ON COLUMN report.lake_labels.labels IS 'The labels.';

CREATE VIEW report.lake_pool WITH (security_barrier) AS
SELECT DISTINCT pool.id AS pool_id, pool.name AS pool, course.code AS course, course.title AS course_title,
       pool.expires_at
  FROM lake_pool
  JOIN pool ON pool.id = lake_pool.pool_id
  JOIN course ON course.id = pool.course_id
 WHERE lake_pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.lake_pool IS
    'The names behind the ids of pools in the lake''s files, also of a pool that others share.';
COMMENT ON COLUMN report.lake_pool.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.lake_pool.pool IS 'The pool''s name.';
COMMENT ON COLUMN report.lake_pool.course IS 'The course''s code.';
COMMENT ON COLUMN report.lake_pool.course_title IS 'The course''s title.';
COMMENT ON COLUMN report.lake_pool.expires_at IS 'The instant from which its keys cannot be redeemed.';

GRANT SELECT ON report.lake, report.lake_month, report.lake_change, report.lake_labels, report.lake_pool
   TO keypool_analyst, keypool_web;
    """)
