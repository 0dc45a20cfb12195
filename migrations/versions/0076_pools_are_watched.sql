CREATE TYPE unusual_rule AS ENUM ('sudden_pace', 'strangers', 'shared_keys');

-- A spell in which a pool was unusual against its own past, by one rule. seen: what the rule counts, in the 24
-- hours before held_at, the last time that it held, of among where it is a share; usual: the same before, as a
-- mean a day or a share; most: on the highest day of those. A spell ends a day after the rule held last.
CREATE TABLE pool_unusual (
    id       bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pool_id  bigint       NOT NULL REFERENCES pool ON DELETE RESTRICT,
    rule     unusual_rule NOT NULL,
    seen     bigint       NOT NULL,
    among    bigint,
    usual    numeric      NOT NULL,
    most     bigint,
    began_at timestamptz  NOT NULL DEFAULT clock_now(),
    held_at  timestamptz  NOT NULL DEFAULT clock_now(),
    ended_at timestamptz,

    CONSTRAINT pool_unusual_share_is_of_something CHECK ((rule = 'strangers') = (among IS NOT NULL)),
    CONSTRAINT pool_unusual_count_has_a_highest   CHECK ((rule = 'strangers') = (most IS NULL))
);

-- Keeps "one spell at a time"; read by a pool's page and lists.
CREATE UNIQUE INDEX pool_is_unusual_once_by_a_rule ON pool_unusual (pool_id, rule) WHERE ended_at IS NULL;
-- Read by reports of a pool's spells.
CREATE INDEX pool_unusual_by_pool ON pool_unusual (pool_id, began_at);

ALTER TABLE pool_unusual ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy ON pool_unusual TO keypool_web
    USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
GRANT SELECT ON pool_unusual TO keypool_web;

CREATE VIEW report.pool_unusual WITH (security_barrier) AS
SELECT pool_unusual.id AS pool_unusual_id, pool.name AS pool, organization.name AS organization,
       course.code AS course, pool_unusual.rule::text AS rule, pool_unusual.seen, pool_unusual.among,
       pool_unusual.usual, pool_unusual.most, pool_unusual.began_at,
       (pool_unusual.began_at AT TIME ZONE organization.time_zone)::date AS day,
       pool_unusual.held_at, pool_unusual.ended_at, pool.id AS pool_id, pool.organization_id, pool.course_id
  FROM pool_unusual
  JOIN pool ON pool.id = pool_unusual.pool_id
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.pool_unusual IS
    'One row a spell in which a pool was unusual against its own past, by one rule; its figures are of the 24 hours before held_at.';
COMMENT ON COLUMN report.pool_unusual.pool_unusual_id IS 'The spell''s id.';
COMMENT ON COLUMN report.pool_unusual.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.pool_unusual.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.pool_unusual.course IS 'The course''s code.';
COMMENT ON COLUMN report.pool_unusual.rule IS 'sudden_pace, strangers or shared_keys.';
COMMENT ON COLUMN report.pool_unusual.seen IS
    'sudden_pace: redeemed keys. strangers: those redeemed by somebody else than the address that they were distributed to. shared_keys: people, once a key, who tried a key that somebody else had redeemed.';
COMMENT ON COLUMN report.pool_unusual.among IS
    'strangers: the redeemed keys that had been distributed to an address; null for the other rules.';
COMMENT ON COLUMN report.pool_unusual.usual IS
    'The same in up to 28 days before: the mean a day; strangers: the share, from 0 to 1.';
COMMENT ON COLUMN report.pool_unusual.most IS 'The highest of those days; null for strangers.';
COMMENT ON COLUMN report.pool_unusual.began_at IS 'When the rule was first found to hold.';
COMMENT ON COLUMN report.pool_unusual.day IS 'That day, in the time zone of the pool''s owner.';
COMMENT ON COLUMN report.pool_unusual.held_at IS 'When it was last found to hold.';
COMMENT ON COLUMN report.pool_unusual.ended_at IS 'When the spell ended, a day after that; null while it goes on.';
COMMENT ON COLUMN report.pool_unusual.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.pool_unusual.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.pool_unusual.course_id IS 'The course''s id, as in report.course.';

GRANT SELECT ON report.pool_unusual TO keypool_analyst, keypool_web;
