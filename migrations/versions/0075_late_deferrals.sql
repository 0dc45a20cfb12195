CREATE OR REPLACE FUNCTION note_late_facts() RETURNS trigger
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
    ELSE  -- an assignment that only expired is none other in the lake; over its access its charges are earned
        SELECT array_agg(fact.organization_id), array_agg(fact.at) INTO organizations, instants
          FROM after JOIN before USING (id)
         CROSS JOIN LATERAL (
               SELECT after.organization_id, after.redeemed_at AS at
               UNION ALL
               SELECT charge.organization_id, charge.occurred_at FROM charge WHERE charge.assignment_id = after.id
               UNION ALL
               SELECT pool.organization_id, distribution.distributed_at
                 FROM key JOIN distribution ON distribution.id = key.distribution_id
                 JOIN pool ON pool.id = distribution.pool_id
                WHERE key.id = after.key_id) AS fact
         WHERE fact.at < upto
           AND (after.learner_id, after.undone, after.expires_at, after.cancelled_at)
               IS DISTINCT FROM (before.learner_id, before.undone, before.expires_at, before.cancelled_at);
    END IF;
    IF organizations IS NOT NULL THEN
        PERFORM note_late(organizations, instants);
    END IF;
    RETURN NULL;
END
$$;

-- A distribution that is recalled says when its keys were.
CREATE FUNCTION note_recalled_distribution() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM note_late(ARRAY[pool.organization_id], ARRAY[NEW.distributed_at]) FROM pool WHERE pool.id = NEW.pool_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER recalled_distributions_are_noted AFTER UPDATE OF recalled_at ON distribution
    FOR EACH ROW WHEN (OLD.recalled_at IS DISTINCT FROM NEW.recalled_at)
    EXECUTE FUNCTION note_recalled_distribution();

REVOKE ALL ON FUNCTION note_recalled_distribution() FROM PUBLIC;

-- The lake's files have more columns and a fact more: all its months are written anew.
INSERT INTO lake_change (organization_id, month) SELECT organization_id, month FROM lake_month;
