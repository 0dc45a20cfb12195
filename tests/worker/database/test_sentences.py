"""What people are told who break a rule: each rule that their input can break has a sentence."""

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.worker.database.test_rules import IMPLIED, REFUSED, WORLD
from tests.world import OPERATOR, build, entry_of
from worker import errors
from worker.database import connections, rules
from worker.database.connections import Login
from worker.learning import learners
from worker.tenancy import organizations

# What each rule meant while a dictionary of Python's said it, as `code(field): sentence`.
LINES = """\
organization_name_is_unique
    already_exists: There is an organization by that name already; choose another name.
organizations_form_a_tree
    circular_parent: An organization cannot be below its own descendant; choose another parent.
organization_slug_is_unique
    already_exists: Another organization has that slug already; choose another.
organization_slug_is_an_address
    invalid_input(slug): A slug has up to 60 lower-case letters, digits and single hyphens: acme-hr.
organization_redeem_text_is_short
    invalid_input(redeem_text): The text of a redeem page has up to 2,000 characters.
organization_redeem_domains_are_few
    invalid_input(redeem_domains): A redeem page allows up to 100 domains.
organization_colour_is_a_code
    invalid_input(colour): A colour is written in six hexadecimal digits, such as #0b5fa5.
organization_is_not_its_parent
    circular_parent: An organization cannot be below its own descendant; choose another parent.
organization_time_zone_is_known
    invalid_input(time_zone): The time zone is not known; give an IANA name such as Europe/Berlin.
organization_has_a_name
    invalid_input(name): An organization's name has 1 to 200 characters.
course_code_is_unique
    already_exists: There is a course with that code already; choose another code.
course_has_a_code
    invalid_input(code): A course's code has 1 to 64 characters.
course_has_a_title
    invalid_input(title): A course's title has 1 to 300 characters.
price_changes_once_an_instant
    already_exists: There is a price from that very time already; choose another start.
price_is_not_negative
    invalid_input(price): A price is zero or more.
pool_name_is_unique_in_its_organization
    already_exists: The organization has a pool by that name already; choose another name.
pool_has_a_name
    invalid_input(name): A pool's name has 1 to 200 characters.
pool_starts_before_it_expires
    invalid_input(expires_at): A pool must start before it expires; give a later end.
pool_content_is_available_1_to_3650_days
    invalid_input(content_availability_days): Content availability is a whole number of days from 1 to 3650.
pool_is_not_made_for_an_archived_course
    course_archived: The course is archived; choose a course that is still taught.
user_email_is_unique
    already_exists: Somebody signs in with that address already; give another address.
user_has_an_address
    invalid_input(email): A user signs in with an e-mail address.
identity_provider_has_a_client
    invalid_input(client_id): A client has an id of 1 to 300 characters.
mail_template_has_a_name
    invalid_input(name): A template's name has 1 to 100 characters.
mail_template_has_a_subject
    invalid_input(subject): A subject has 1 to 300 characters.
mail_template_has_a_body
    invalid_input(text): A mail's text has 1 to 20,000 characters.
reminder_comes_in_days
    invalid_input(days): A reminder comes 1 to 3650 days before or after.
reminder_counts_keys
    invalid_input(keys): A pool is low below 1 to 1,000,000,000 keys.
source_name_is_unique_in_its_organization
    already_exists: The organization has a source by that name already; choose another name.
source_has_a_name
    invalid_input(name): A source's name has 1 to 200 characters.
token_has_a_name
    invalid_input(name): A token's name has 1 to 200 characters.
endpoint_is_registered_once
    already_exists: The organization has an endpoint at that address already; edit that one.
endpoint_calls_a_pool_low
    invalid_input(pool_low): A pool is low below 1 to 1,000,000,000 keys.
endpoint_calls_a_pool_expiring
    invalid_input(pool_expiring_days): A pool is called expiring 1 to 3650 days ahead.
learner_has_one_live_assignment_per_course
    live_assignment: The learner holds another live assignment for that course; extend that one.
credits_stay_within_their_charge
    credit_exceeds_charge: The credits of a charge cannot exceed it; credit what is left of it at most.
finalized_invoice_never_changes
    invoice_status: A finalized invoice can only be paid or voided; credit a charge instead.
"""
FORMER = dict(zip(LINES.splitlines()[::2], map(str.strip, LINES.splitlines()[1::2]), strict=True))

# Rules that no input breaks, so nobody needs a sentence: whoever adds one decides.
OURS = {
    # What is read was read by our own code before, which says more: a line, a list of what there is.
    "answer_has_a_key",
    "bank_account_has_an_iban",
    "bank_has_a_bic_or_none",
    "batch_asks_for_something",
    "charge_is_in_the_minor_unit",
    "charge_is_owed_and_credit_is_given_back",
    "credit_has_a_reason",
    "credit_note_is_never_voided",
    "seller_keeps_or_skips_zero",
    "distribution_has_a_recipient",
    "endpoint_wants_something",
    "invoice_is_voided_for_a_reason",
    "key_code_is_well_formed",
    "launch_ends_after_it_began",
    "list_price_never_ends",
    "journal_has_days_in_order",
    "journal_is_numbered_once_a_period",
    "learner_is_joined_to_another",
    "organization_country_is_a_code",
    "organization_logo_has_a_size",
    "organization_logo_is_a_small_png",
    "payment_is_taken_back_for_a_reason",
    "payments_stay_within_their_invoice",
    "price_ends_after_it_began",
    "price_is_in_the_minor_unit",
    "replacement_has_a_reason",
    "seller_country_is_a_code",
    "report_has_days_in_order",
    "tax_rate_has_a_known_category",
    "tax_rate_is_a_percentage",
    "tax_rate_says_why_nothing_is_due",
    "token_of_the_operator_has_no_organization",
    "user_has_a_hashed_password",
    "user_of_the_operator_has_no_organization",
    # Of 256 random bits, no two are alike; and a provider that is there is changed.
    "console_session_is_unique",
    "identity_provider_is_an_organizations_one",
    "recovery_code_is_unique",
    "sign_in_link_is_unique",
    # The second of two is no error: it is found, left out or counted.
    "batch_line_exists_once",
    "bulk_act_is_asked_once",
    "distribution_is_made_once",
    "event_is_recorded_once",
    "invoice_has_one_draft",
    "key_is_unique_in_the_whole_system",
    "launch_is_recorded_once",
    "launch_over_the_api_is_recorded_once",
    "report_is_made_once_for_an_invoice",
    "source_is_an_organizations_only_page",
    "tax_rate_changes_once_an_instant",
    # Under the settler's lock, or a row's, none comes second.
    "assignment_comes_from_one_redemption",
    "assignment_is_charged_once",
    "charge_is_billed_once",
    "charge_has_a_tax_rate_of_its_owner",
    "pool_is_for_one_course",
    "pool_is_for_one_course_and_one_owner",
    "charge_is_owed_by_its_pools_owner",
    "assignment_is_to_its_pools_course",
    "attempt_stays_as_decided",
    "charged_tax_rate_never_changes",
    "invoice_is_taxed_once_a_rate",
    "invoice_line_is_one_of_its_kind",
    "invoice_number_is_given_once",
    "key_is_spent_once",
    "key_takes_one_place",
    "token_is_unique",
    # States, times and counts that our own code writes together.
    "ancestry_distance_counts_up",
    "assignment_gives_access_for_a_while",
    "assignment_is_cancelled_at_a_time",
    "assignment_is_expired_at_a_time",
    "assignment_is_undone_by_cancelling",
    "cancelled_out_comes_to_nothing",
    "credit_line_names_the_line_it_credits",
    "batch_chunk_counts_its_lines",
    "batch_chunk_has_a_code_per_line",
    "batch_ends_once",
    "batch_failure_has_its_error",
    "batch_labels_are_a_few_words",
    "batch_line_is_invalid_for_a_reason",
    "batch_line_made_no_key",
    "batch_makes_what_it_was_asked",
    "batch_works_what_it_was_asked",
    "bulk_act_ends_once",
    "bulk_act_failure_has_its_error",
    "bulk_act_row_is_refused_for_a_reason",
    "bulk_act_works_what_it_was_asked",
    "charge_is_never_rewritten",
    "credit_names_the_charge_it_undoes",
    "course_is_launched_with_a_secret",
    "currency_has_its_minor_unit",
    "delivery_ends_once",
    "delivery_failure_has_its_error",
    "delivery_has_a_body_to_send",
    "draft_gathers_its_own_unbilled_charges",
    "endpoint_reason_is_of_a_pause",
    "event_failure_has_its_error",
    "event_is_settled_with_an_outcome",
    "event_waits_while_recorded",
    "history_is_never_rewritten",
    "invoice_charge_is_on_its_invoices_line",
    "invoice_has_seller_and_buyer_when_final",
    "invoice_is_numbered_in_the_year_of_its_issue",
    "lake_is_one",
    "lake_announces_before_it_writes",
    "lake_labels_are_numbered_once",
    "lake_month_begins_on_its_first_day",
    "mail_server_is_one",
    "schedule_beat_is_one",
    "mail_template_is_in_force_once",
    "message_ends_once",
    "message_failure_has_its_error",
    "message_gives_keys_once",
    "message_has_a_body_to_send",
    "message_is_refused_for_good",
    "message_reminds_of_a_thing",
    "message_reminds_once",
    "reminder_has_its_threshold",
    "unsubscribed_is_in_lower_case",
    "page_session_has_five_tries",
    "page_session_is_known_by_its_hash",
    "payment_is_never_rewritten",
    "invoice_is_numbered_when_final",
    "invoice_is_paid_on_a_day",
    "invoice_line_adds_up",
    "invoice_line_belongs_to_its_invoice",
    "tax_rate_is_of_its_organization",
    "invoice_month_is_its_first_day",
    "invoice_number_counts_from_1",
    "invoice_share_counts_charges",
    "invoice_share_is_of_its_invoices_line",
    "invoice_total_adds_up",
    "key_is_made_by_a_batch_of_its_pool",
    "key_takes_anothers_place",
    "launch_is_completed_by_ending",
    "launch_refused_never_ends",
    "pool_growth_counts_keys",
    "pool_is_unusual_once_by_a_rule",
    "pool_unusual_count_has_a_highest",
    "pool_unusual_share_is_of_something",
    "attempt_tally_counts_attempts",
    "redemption_knows_its_keys_pool",
    "redemption_leads_to_an_assignment",
    "redemption_names_the_learners_organization",
    "redemption_without_a_key_found_none",
    "report_ends_once",
    "report_is_made_once_for_a_period",
    "schedule_mails_to_somebody",
    "schedule_names_a_notebook_without_a_path",
    "schedule_that_is_removed_mails_nobody",
    "report_failure_has_its_traceback",
    "report_is_attended_while_it_runs",
    "report_names_a_notebook_without_a_path",
    "report_is_printed_where_that_was_asked",
    "report_that_is_done_has_its_page",
    "report_works_the_cells_it_has",
    "first_start_is_one",
    "first_start_link_ends",
    "first_start_samples_once",
    "seller_is_one",
    "settlement_claims_something",
    "settlement_is_a_trees_only_one",
    "void_invoice_releases_its_charges",
}


@pytest.fixture
def world(session) -> Session:
    session.connection().exec_driver_sql(WORLD, execution_options={"no_parameters": True})
    return session


def told(session: Session, sql: str) -> str:
    """What is told of a statement that breaks a rule, as `code(field): sentence`."""
    with pytest.raises(errors.KeypoolError) as refused, session.begin_nested():
        session.connection().exec_driver_sql(sql, execution_options={"no_parameters": True})
    field = getattr(refused.value, "field", None)
    return f"{refused.value.code}{f'({field})' if field else ''}: {refused.value}"


@pytest.mark.parametrize("rule", FORMER)
def test_a_broken_rule_is_told_as_it_was_before_schema_sql_said_it(world, rule):
    code, _, sentence = FORMER[rule].partition(": ")
    field = rules.meanings()[rule].error().field  # which a conflict did not name before

    for sql in REFUSED[rule]:
        assert (
            told(world, sql)
            == f"{code}{f'({field})' if field and '(' not in code else ''}: {sentence}"
        )


@pytest.mark.parametrize("rule", rules.meanings())
def test_every_sentence_of_schema_sql_is_told(world, rule):
    code, named, sentence = rules.meanings()[rule]
    field = named or rules.meanings()[rule].error().field

    for sql in REFUSED[rule]:
        assert told(world, sql) == f"{code}{f'({field})' if field else ''}: {sentence}"


def test_every_rule_that_input_can_break_has_a_sentence():
    assert rules.meanings().keys() | OURS == REFUSED.keys() | IMPLIED
    assert rules.meanings().keys() & OURS == set()


def test_what_is_read_from_schema_sql_is_what_the_database_has(session):
    commented = session.execute(
        text("""
        SELECT conname, obj_description(oid, 'pg_constraint') FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace
        UNION SELECT relname, obj_description(oid, 'pg_class') FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'i'
        UNION SELECT tgname, obj_description(oid, 'pg_trigger') FROM pg_trigger WHERE NOT tgisinternal
        """)
    )

    assert {name: comment for name, comment in commented if comment} == {
        rule: f"{code}{f'({field})' if field else ''}: {sentence}"
        for rule, (code, field, sentence) in rules.meanings().items()
    }


@pytest.mark.parametrize("comment", ["A pool has a name.", "no_such_error: A pool has a name."])
def test_a_comment_of_another_form_is_refused(monkeypatch, tmp_path, comment):
    schema = tmp_path / "schema.sql"
    schema.write_text(f"COMMENT ON CONSTRAINT pool_has_a_name ON pool\n    IS '{comment}';\n")
    monkeypatch.setattr(rules, "SCHEMA", schema)

    with pytest.raises(ValueError, match=f"pool_has_a_name: “{comment}”"):
        rules.meanings.__wrapped__()


def test_the_web_tells_it_too_and_asks_the_database_nothing_for_it(database):
    asked = []
    event.listen(
        web := connections.engine(Login.WEB),
        "before_cursor_execute",
        lambda *told: asked.append(told[2]),
    )

    def add_twice() -> None:
        with connections.session(Login.WEB, sees=entry_of(None)) as session:
            asked.clear()
            session.execute(text("INSERT INTO organization (name) VALUES ('Twice'), ('Twice')"))

    with pytest.raises(errors.AlreadyExistsError, match="choose another name"):
        add_twice()

    assert len(asked) == 1
    web.dispose()


# By the doors that people come in


def test_payment_terms_out_of_range_are_told_with_their_field(session):
    world = build(session)

    with pytest.raises(errors.InvalidInputError, match="0 to 365 days") as refused:
        organizations.edit(
            session, actor=OPERATOR, organization=str(world.parent), payment_terms_days=366
        )

    assert refused.value.field == "payment_terms_days"


def test_an_address_that_somebody_else_has_is_told(session):
    world = build(session)
    session.execute(
        text(
            "INSERT INTO learner (organization_id, email) VALUES (:id, 'ann@x.test'), (:id, 'bob@x.test')"
        ),
        {"id": world.parent},
    )

    with pytest.raises(errors.AlreadyExistsError, match="has that address already"):
        learners.correct(session, actor=OPERATOR, email="ann@x.test", new_email="bob@x.test")
