from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.ledger import BACKDATE, OPERATOR, add_pool, redeem, set_clock
from worker import errors
from worker.catalogue import courses
from worker.tables.tenancy import Organization
from worker.tenancy import organizations, taxes


@pytest.fixture
def academy(session: Session) -> Organization:
    set_clock(session, "2026-06-01T12:00Z")
    organizations.add(
        session, actor=OPERATOR, name="Academy", time_zone="Europe/Berlin", tax_rate="19 %"
    )
    return organizations.find(session, actor=OPERATOR, name="Academy")


def edit(session: Session, **given: str) -> None:
    organizations.edit(session, actor=OPERATOR, organization="Academy", **given)


def charged(session: Session, at: str) -> None:
    """Charge the academy for a redemption."""
    made = courses.add(
        session, actor=OPERATOR, code="C", title="A course", price="10", currency="EUR"
    )
    session.execute(BACKDATE, {"course": int(made["id"])})
    redeem(session, add_pool(session, "Academy", "C"), at)


def test_a_rate_holds_from_a_day_in_the_organizations_time_zone(session, academy):
    edit(session, tax_rate="21", tax_label="VAT", tax_from="2027-01-01")

    standard = {"category": "S", "exemption": None}
    assert taxes.rates(session, academy) == [
        {"label": "Tax", "percent": "19", "from": datetime(1970, 1, 1, 23, tzinfo=UTC)} | standard,
        {"label": "VAT", "percent": "21", "from": datetime(2026, 12, 31, 23, tzinfo=UTC)}
        | standard,
    ]


def test_a_label_stays_until_another_is_given(session, academy):
    edit(session, tax_rate="20", tax_label="VAT", tax_from="2026-07-01")
    edit(session, tax_rate="21", tax_from="2026-08-01")

    assert [rate["label"] for rate in taxes.rates(session, academy)] == ["Tax", "VAT", "VAT"]


def test_a_rate_of_the_same_day_is_put_right(session, academy):
    edit(session, tax_rate="7", tax_from="2026-07-01")
    edit(session, tax_rate="7.125", tax_from="2026-07-01")

    assert [rate["percent"] for rate in taxes.rates(session, academy)] == ["19", "7.125"]


def test_without_a_day_a_rate_holds_from_today(session, academy):
    edit(session, tax_rate="7")

    assert taxes.rates(session, academy)[-1]["from"] == datetime(2026, 5, 31, 22, tzinfo=UTC)


def test_where_today_was_charged_a_rate_holds_from_tomorrow(session, academy):
    charged(session, "2026-06-01T11:00Z")

    edit(session, tax_rate="7")

    assert taxes.rates(session, academy)[-1]["from"] == datetime(2026, 6, 1, 22, tzinfo=UTC)


def test_the_rate_in_force_set_again_changes_nothing(session, academy):
    charged(session, "2026-06-01T11:00Z")

    edit(session, tax_rate="19")

    assert len(taxes.rates(session, academy)) == 1


def test_a_rate_is_refused_for_days_on_which_something_was_charged(session, academy):
    charged(session, "2026-05-20T21:59Z")  # 20 May in Berlin, to its last minute

    with pytest.raises(errors.TaxRateInThePastError):
        edit(session, tax_rate="7", tax_from="2026-05-20")
    edit(session, tax_rate="7", tax_from="2026-05-21")

    assert len(taxes.rates(session, academy)) == 2


def test_a_rate_may_fill_a_time_before_another_in_which_nothing_was_charged(session, academy):
    edit(session, tax_rate="7", tax_from="2026-05-20")
    charged(session, "2026-05-25T12:00Z")

    edit(session, tax_rate="8", tax_from="2026-05-10")

    assert [rate["percent"] for rate in taxes.rates(session, academy)] == ["19", "8", "7"]


def test_a_rate_that_something_was_charged_at_never_changes(session, academy):
    charged(session, "2026-05-20T12:00Z")

    with pytest.raises(IntegrityError, match="never changes"):
        session.execute(text("UPDATE tax_rate SET percent = 7"))


@pytest.mark.parametrize(
    ("category", "sentence"),
    [
        ("AE", "Reverse charge: the recipient is liable for the tax."),
        ("K", "Intra-community supply, exempt from tax."),
        ("G", "Export, exempt from tax."),
        ("O", "Not subject to tax."),
        ("Z", None),
    ],
)
def test_a_rate_of_zero_has_a_category_with_its_usual_sentence(
    session, academy, category, sentence
):
    edit(session, tax_rate="0", tax_category=category.lower())

    told = taxes.rates(session, academy)[-1]
    assert (told["category"], told["exemption"]) == (category, sentence)


def test_an_exempt_rate_says_why(session, academy):
    with pytest.raises(errors.InvalidInputError, match="why no tax is due"):
        edit(session, tax_rate="0", tax_category="E")

    edit(
        session, tax_rate="0", tax_category="E", tax_exemption="Exempt: education, § 4 Nr. 21 UStG."
    )

    assert taxes.rates(session, academy)[-1]["exemption"] == "Exempt: education, § 4 Nr. 21 UStG."


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tax_rate": "19", "tax_category": "AE"}, "tax_category"),
        ({"tax_rate": "0", "tax_category": "S"}, "tax_category"),
        ({"tax_rate": "0", "tax_category": "X"}, "tax_category"),
        ({"tax_rate": "19", "tax_exemption": "Why"}, "tax_exemption"),
        ({"tax_rate": "0", "tax_category": "AE", "tax_exemption": "x" * 301}, "tax_exemption"),
        ({"tax_rate": "7", "tax_from": "1 July"}, "tax_from"),
    ],
)
def test_what_does_not_fit_a_rate_is_refused(session, academy, given, field):
    with pytest.raises(errors.InvalidInputError) as refused:
        edit(session, **given)

    assert refused.value.field == field


@pytest.mark.parametrize(
    "number",
    [
        "DE136695976",
        "DE 136 695 976",
        "DE123456789",
        "ATU13585627",
        "EL094259216",
        "12/345/67890",
        "",
    ],
)
def test_a_tax_number_of_the_right_form_is_taken(session, academy, number):
    edit(session, tax_id=number)

    assert organizations.show(session, actor=OPERATOR, organization="Academy")["tax_id"] == number


@pytest.mark.parametrize("number", ["DE12345678", "de1", "ATU1358562", "FR4030326504!", "NL123"])
def test_a_vat_number_that_has_not_its_countrys_form_is_refused(session, academy, number):
    with pytest.raises(errors.InvalidInputError, match="does not have the form of a VAT number"):
        edit(session, tax_id=number)


def test_every_country_whose_numbers_are_checked_has_a_known_form():
    for country in taxes.PREFIXED:
        with pytest.raises(errors.InvalidInputError):
            taxes.taxpayer(f"{country}1", field="tax_id")


@pytest.mark.parametrize(
    "rate",
    [
        "-1",
        "101",
        "19.1234",
        "a lot",
        "NaN",
        "",
        "1_9",
        "1e1",
        "٤٩",
        "-0",
        "+5",
        " 5",
        "5 ",
        "19%%",
        "19  %",
    ],
)
def test_what_is_no_percentage_is_refused(session, academy, rate):
    with pytest.raises(errors.InvalidInputError, match="is not a tax rate"):
        edit(session, tax_rate=rate)


def test_a_label_or_a_day_without_a_rate_is_refused(session, academy):
    with pytest.raises(errors.InvalidInputError, match="Give the tax rate too"):
        edit(session, tax_label="VAT")
