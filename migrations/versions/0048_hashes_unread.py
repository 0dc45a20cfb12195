"""The web's login reads no hash of a password, token, session or link."""

from alembic import op

revision = "0048"
down_revision = "0047"
oldest_code = "0048"  # older code reads whole rows


def upgrade() -> None:
    """Grant the columns without the hashes."""
    op.execute("""
    REVOKE SELECT ON token, console_user, console_session, sign_in_link FROM keypool_web;
        GRANT SELECT (id, organization_id, email, role, created_at, disabled_at, totp_encrypted, totp_step,
        vouched_by) ON console_user TO keypool_web;
        GRANT SELECT (id, organization_id, name, role, created_at, expires_at, last_used_at, revoked_at,
        made_by) ON token TO keypool_web;
        GRANT SELECT (id, user_id, client, browser, created_at, confirmed_at, last_seen_at, ends_at, ended_at,
        second_factor_at) ON console_session TO keypool_web;
    GRANT SELECT (id, user_id, created_at, ends_at, used_at) ON sign_in_link TO keypool_web;
    """)
