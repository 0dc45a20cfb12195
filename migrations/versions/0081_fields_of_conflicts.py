"""What exists already says which field of the input it is about."""

from alembic import op

revision = "0081"
down_revision = "0080"
oldest_code = "0055"


def upgrade() -> None:
    """Name the field in the rules' comments; code reads them from its own schema.sql."""
    op.execute("""
COMMENT ON CONSTRAINT organization_name_is_unique ON organization
IS 'already_exists(name): There is an organization by that name already; choose another name.';
COMMENT ON CONSTRAINT organization_slug_is_unique ON organization
IS 'already_exists(slug): Another organization has that slug already; choose another.';
COMMENT ON INDEX course_code_is_unique
IS 'already_exists(code): There is a course with that code already; choose another code.';
COMMENT ON CONSTRAINT price_changes_once_an_instant ON price
IS 'already_exists(from): There is a price from that very time already; choose another start.';
COMMENT ON CONSTRAINT pool_name_is_unique_in_its_organization ON pool
IS 'already_exists(name): The organization has a pool by that name already; choose another name.';
COMMENT ON INDEX user_email_is_unique
IS 'already_exists(email): Somebody signs in with that address already; give another address.';
COMMENT ON CONSTRAINT source_name_is_unique_in_its_organization ON source
IS 'already_exists(name): The organization has a source by that name already; choose another name.';
COMMENT ON INDEX learner_is_one_person_per_organization
IS 'already_exists(email): Somebody else in the organization has that address already; give another address.';
COMMENT ON INDEX endpoint_is_registered_once
IS 'already_exists(url): The organization has an endpoint at that address already; edit that one.';
""")
