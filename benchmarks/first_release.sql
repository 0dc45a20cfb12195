-- The first release's rows, by the million. Triggers would tally each, and tell of it.
ALTER TABLE key DISABLE TRIGGER USER;
INSERT INTO key (id, pool_id, generated, code, state) OVERRIDING SYSTEM VALUE
SELECT {base} + n, (SELECT min(id) FROM pool), true, 'U' || lpad(n::text, 15, '0'),
       CASE WHEN n % {share} = 0 THEN 'redeemed' ELSE 'issued' END::key_state
  FROM generate_series(1, {keys}) AS n;
ALTER TABLE key ENABLE TRIGGER USER;
INSERT INTO learner (id, organization_id, email) OVERRIDING SYSTEM VALUE
SELECT {base} + n, (SELECT min(organization_id) FROM pool),
       CASE WHEN n % 1000 = 0 THEN 'U' ELSE 'u' END || n || '@example.org'
  FROM generate_series({share}, {keys}, {share}) AS n;
INSERT INTO assignment (id, key_id, pool_id, course_id, learner_id, organization_id, redeemed_at, expires_at)
       OVERRIDING SYSTEM VALUE
SELECT {base} + n, {base} + n, pool.id, course_id, {base} + n, organization_id, '2026-01-01', '2099-01-01'
  FROM generate_series({share}, {keys}, {share}) AS n, pool WHERE pool.id = (SELECT min(id) FROM pool);
INSERT INTO event (id, source_id, organization_id, learner_organization_id, webhook_id, body_hash, type, data,
                   status, outcome, settled_at, assignment_id) OVERRIDING SYSTEM VALUE
SELECT {base} + n, source.id, organization_id, organization_id, 'u' || n, '\x00', 'redemption.requested', '{{}}',
       'settled', 'redeemed', '2026-01-01', {base} + n
  FROM generate_series({share}, {keys}, {share}) AS n, source WHERE source.id = (SELECT min(id) FROM source);
ALTER TABLE redemption DISABLE TRIGGER USER;
INSERT INTO redemption (event_id, organization_id, learner_organization_id, learner_email, key_id, pool_id,
                        assignment_id, outcome, received_at)
SELECT id, organization_id, organization_id, webhook_id || '@example.org', id, (SELECT min(id) FROM pool), id,
       'redeemed', '2026-01-01' FROM event WHERE id > {base};
ALTER TABLE redemption ENABLE TRIGGER USER;
ALTER TABLE charge DISABLE TRIGGER USER;
INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id, assignment_id, amount,
                    currency, occurred_at, unbilled)
SELECT 'redemption', organization_id, organization_id, course_id, pool_id, id, 10, 'EUR', '2026-01-01', false
  FROM assignment WHERE id > {base};
ALTER TABLE charge ENABLE TRIGGER USER;
