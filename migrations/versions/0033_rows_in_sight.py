"""What the web refers to is in its sight, and only the operator writes what is billed."""

from alembic import op

revision = "0033"
down_revision = "0032"
oldest_code = "0030"


def upgrade() -> None:
    op.execute("""
    DO $$
    BEGIN
        EXECUTE 'REVOKE TEMPORARY ON DATABASE ' || quote_ident(current_database()) || ' FROM PUBLIC';
    END
    $$;
    ALTER TABLE report_run ADD CONSTRAINT report_names_a_notebook_without_a_path
        CHECK (notebook ~ '^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$');
    """)
    op.execute(POLICIES)
    for table in BILLED:
        op.execute(f"""
        CREATE POLICY operating_new ON {table} AS RESTRICTIVE FOR INSERT TO keypool_web
            WITH CHECK ((SELECT sees_everything()));
        CREATE POLICY operating ON {table} AS RESTRICTIVE FOR UPDATE TO keypool_web
            USING (true) WITH CHECK ((SELECT sees_everything()));
        """)
    for table in ERASED:
        op.execute(f"""
        CREATE POLICY erasing ON {table} AS RESTRICTIVE FOR UPDATE TO keypool_web
            USING (true) WITH CHECK ((SELECT sees_everything()));
        """)
    op.execute("""
    REVOKE INSERT, UPDATE ON learner, assignment, delivery FROM keypool_web;
    REVOKE UPDATE ON key, event, launch, charge, message FROM keypool_web;
    GRANT UPDATE (distribution_id, state, generated, labels) ON key TO keypool_web;
    GRANT UPDATE (email, name, erased_at, joined_at) ON learner TO keypool_web;
    GRANT UPDATE (learner_id, status, undone, expires_at, expired_at, cancelled_at, cancel_reason) ON assignment
        TO keypool_web;
    GRANT UPDATE (data, status, waits_for, deaths, claim_limit, error) ON event TO keypool_web;
    GRANT UPDATE (ended_at, completed, score) ON launch TO keypool_web;
    GRANT UPDATE (reason) ON charge TO keypool_web;
    GRANT UPDATE (data, state, due_at, attempts, tried_since, ended_at, error) ON delivery TO keypool_web;
    GRANT UPDATE (recipient, data, identity, state, due_at, attempts, tried_since, ended_at, error, refused)
        ON message TO keypool_web;
    """)


BILLED = (
    "tax_rate", "invoice", "invoice_line", "invoice_share", "invoice_tax", "invoice_charge", "payment",
)  # fmt: skip
ERASED = ("history", "redemption", "report_run", "answer")
POLICIES = """
    CREATE POLICY leads_to_rows_in_sight ON event AS RESTRICTIVE FOR INSERT TO keypool_web
        WITH CHECK (assignment_id IS NULL
                    AND EXISTS (SELECT FROM source WHERE source.id = source_id
                         AND source.organization_id = event.organization_id)
                    AND (learner_organization_id IS NULL
                         OR EXISTS (SELECT FROM organization WHERE organization.id = learner_organization_id)));
    CREATE POLICY leads_to_rows_in_sight ON launch AS RESTRICTIVE FOR INSERT TO keypool_web
        WITH CHECK (source_id IS NULL
                    AND EXISTS (SELECT FROM assignment WHERE assignment.id = assignment_id
                         AND assignment.organization_id = launch.organization_id));
    CREATE FUNCTION is_charge_of(charge_id bigint, organization_id bigint) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT EXISTS (SELECT FROM charge
                        WHERE id = charge_id AND charge.organization_id = is_charge_of.organization_id)
    $$;
    REVOKE ALL ON FUNCTION is_charge_of(bigint, bigint) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION is_charge_of(bigint, bigint) TO keypool_web;
    CREATE POLICY leads_to_rows_in_sight ON charge AS RESTRICTIVE FOR INSERT TO keypool_web
        WITH CHECK (EXISTS (SELECT FROM assignment WHERE assignment.id = assignment_id
                         AND assignment.organization_id = learner_organization_id)
                    AND EXISTS (SELECT FROM pool WHERE pool.id = pool_id
                         AND pool.organization_id = charge.organization_id)
                    AND (credits_id IS NULL OR is_charge_of(credits_id, organization_id)));
    CREATE POLICY leads_to_rows_in_sight ON key AS RESTRICTIVE FOR INSERT TO keypool_web
        WITH CHECK (distribution_id IS NULL
                    OR EXISTS (SELECT FROM distribution WHERE distribution.id = distribution_id
                         AND distribution.pool_id = key.pool_id));
    CREATE POLICY keeps_to_rows_in_sight ON key AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true)
        WITH CHECK (distribution_id IS NULL
                    OR EXISTS (SELECT FROM distribution WHERE distribution.id = distribution_id
                         AND distribution.pool_id = key.pool_id));
    CREATE POLICY leads_to_rows_in_sight ON key_replacement AS RESTRICTIVE FOR INSERT TO keypool_web
        WITH CHECK (EXISTS (SELECT FROM key WHERE key.id = new_key_id)
                    AND (distribution_id IS NULL
                        OR EXISTS (SELECT FROM distribution WHERE distribution.id = distribution_id)));
    CREATE POLICY keeps_to_rows_in_sight ON assignment AS RESTRICTIVE FOR UPDATE TO keypool_web USING (true)
        WITH CHECK (EXISTS (SELECT FROM learner WHERE learner.id = learner_id
                         AND learner.organization_id = assignment.organization_id));
    CREATE POLICY leads_to_rows_in_sight ON message AS RESTRICTIVE FOR INSERT TO keypool_web
        WITH CHECK ((distribution_id IS NULL
            OR EXISTS (SELECT FROM distribution WHERE distribution.id = distribution_id))
                    AND (template_id IS NULL
                        OR EXISTS (SELECT FROM mail_template WHERE mail_template.id = template_id)));
    CREATE POLICY leads_to_rows_in_sight ON report_run AS RESTRICTIVE FOR INSERT TO keypool_web
        WITH CHECK (invoice_id IS NULL OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id));

"""
