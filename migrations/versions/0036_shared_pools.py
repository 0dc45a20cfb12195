"""Who is below a pool's owner knows the pools shared with them, and what their learners redeemed."""

from alembic import op

revision = "0036"
down_revision = "0035"
oldest_code = "0035"


def upgrade() -> None:
    op.execute(r"""
    CREATE FUNCTION shared_pool(with_organization bigint)
    RETURNS TABLE (pool_id bigint, name text, course text, starts_at timestamptz, expires_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT pool.id, pool.name, course.code, pool.starts_at, pool.expires_at
          FROM organization_ancestry AS above
          JOIN pool   ON pool.organization_id = above.ancestor_id AND pool.share_with_children
          JOIN course ON course.id = pool.course_id
         WHERE above.descendant_id = with_organization AND above.distance > 0
           AND (session_user <> 'keypool_web' OR sees_everything()
                OR with_organization IN (SELECT visible_organization()))
    $$;

    CREATE FUNCTION shared_redemption(with_organization bigint, of_pool bigint)
    RETURNS TABLE (assignment_id bigint, code text, email text, organization text, status assignment_status,
                   redeemed_at timestamptz, expires_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT assignment.id, key.code, learner.email, organization.name, assignment.status,
               assignment.redeemed_at, assignment.expires_at
          FROM organization_ancestry AS below
          JOIN assignment   ON assignment.organization_id = below.descendant_id
          JOIN key          ON key.id = assignment.key_id
          JOIN learner      ON learner.id = assignment.learner_id
          JOIN organization ON organization.id = assignment.organization_id
         WHERE below.ancestor_id = with_organization AND assignment.pool_id = of_pool
           AND NOT assignment.undone
           AND EXISTS (SELECT FROM shared_pool(with_organization) AS shared WHERE shared.pool_id = of_pool)
    $$;
    REVOKE ALL ON FUNCTION shared_pool(bigint), shared_redemption(bigint, bigint) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION shared_pool(bigint), shared_redemption(bigint, bigint) TO keypool_web;
    """)
