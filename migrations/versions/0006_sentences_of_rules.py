"""Say with each rule what people are told who break it; name triggers for the rules that they keep."""

from alembic import op

revision = "0006"
down_revision = "0005"
oldest_code = "0001"


def upgrade() -> None:
    op.execute("""
ALTER TRIGGER organization_moves_in_the_tree ON organization RENAME TO organizations_form_a_tree;
ALTER TRIGGER pool_needs_a_live_course ON pool RENAME TO pool_is_not_made_for_an_archived_course;
ALTER TRIGGER credit_stays_within_its_charge ON charge RENAME TO credits_stay_within_their_charge;

COMMENT ON CONSTRAINT organization_name_is_unique ON organization
    IS 'already_exists: There is an organization by that name already; choose another name.';
COMMENT ON CONSTRAINT organization_has_a_name ON organization
    IS 'invalid_input(name): An organization''s name has 1 to 200 characters.';
COMMENT ON CONSTRAINT organization_time_zone_is_known ON organization
    IS 'invalid_input(time_zone): The time zone is not known; give an IANA name such as Europe/Berlin.';
COMMENT ON CONSTRAINT organization_is_not_its_parent ON organization
    IS 'circular_parent: An organization cannot be below its own descendant; choose another parent.';
COMMENT ON CONSTRAINT organization_pays_in_time ON organization
    IS 'invalid_input(payment_terms_days): Invoices are due within 0 to 365 days.';
COMMENT ON TRIGGER organizations_form_a_tree ON organization
    IS 'circular_parent: An organization cannot be below its own descendant; choose another parent.';
COMMENT ON CONSTRAINT course_has_a_code ON course
    IS 'invalid_input(code): A course''s code has 1 to 64 characters.';
COMMENT ON CONSTRAINT course_has_a_title ON course
    IS 'invalid_input(title): A course''s title has 1 to 300 characters.';
COMMENT ON INDEX course_code_is_unique
    IS 'already_exists: There is a course with that code already; choose another code.';
COMMENT ON CONSTRAINT price_is_not_negative ON price
    IS 'invalid_input(price): A price is zero or more.';
COMMENT ON CONSTRAINT price_changes_once_an_instant ON price
    IS 'already_exists: There is a price from that very time already; choose another start.';
COMMENT ON CONSTRAINT pool_name_is_unique_in_its_organization ON pool
    IS 'already_exists: The organization has a pool by that name already; choose another name.';
COMMENT ON CONSTRAINT pool_has_a_name ON pool
    IS 'invalid_input(name): A pool''s name has 1 to 200 characters.';
COMMENT ON CONSTRAINT pool_starts_before_it_expires ON pool
    IS 'invalid_input(expires_at): A pool must start before it expires; give a later end.';
COMMENT ON CONSTRAINT pool_content_is_available_1_to_3650_days ON pool IS
'invalid_input(content_availability_days): Content availability is a whole number of days from 1 to 3650.';
COMMENT ON TRIGGER pool_is_not_made_for_an_archived_course ON pool
    IS 'course_archived: The course is archived; choose a course that is still taught.';
COMMENT ON CONSTRAINT token_has_a_name ON token
    IS 'invalid_input(name): A token''s name has 1 to 200 characters.';
COMMENT ON CONSTRAINT user_has_an_address ON console_user
    IS 'invalid_input(email): A user signs in with an e-mail address.';
COMMENT ON INDEX user_email_is_unique
    IS 'already_exists: Somebody signs in with that address already; give another address.';
COMMENT ON CONSTRAINT source_name_is_unique_in_its_organization ON source
    IS 'already_exists: The organization has a source by that name already; choose another name.';
COMMENT ON CONSTRAINT source_has_a_name ON source
    IS 'invalid_input(name): A source''s name has 1 to 200 characters.';
COMMENT ON CONSTRAINT learner_has_an_email ON learner
    IS 'invalid_input(email): A learner is known by an e-mail address of up to 320 characters.';
COMMENT ON INDEX learner_is_one_person_per_organization
    IS 'already_exists: Somebody else in the organization has that address already; give another address.';
COMMENT ON INDEX learner_has_one_live_assignment_per_course
    IS 'live_assignment: The learner holds another live assignment for that course; extend that one.';
COMMENT ON TRIGGER finalized_invoice_never_changes ON invoice
    IS 'invoice_status: A finalized invoice can only be paid or voided; credit a charge instead.';
COMMENT ON TRIGGER credits_stay_within_their_charge ON charge
    IS 'credit_exceeds_charge: The credits of a charge cannot exceed it; credit what is left of it at most.';
COMMENT ON CONSTRAINT endpoint_calls_a_pool_low ON endpoint
    IS 'invalid_input(pool_low): A pool is low below 1 to 1,000,000,000 keys.';
COMMENT ON CONSTRAINT endpoint_calls_a_pool_expiring ON endpoint
    IS 'invalid_input(pool_expiring_days): A pool is called expiring 1 to 3650 days ahead.';
COMMENT ON INDEX endpoint_is_registered_once
    IS 'already_exists: The organization has an endpoint at that address already; edit that one.';
    """)
