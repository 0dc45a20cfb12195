from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, set_clock
from worker import errors
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


def test_a_rate_holds_from_a_day_in_the_organizations_time_zone(session, academy):
    edit(session, tax_rate="21", tax_label="VAT", tax_from="2027-01-01")

    assert taxes.rates(session, academy) == [
        {"label": "Tax", "percent": "19", "from": datetime(2026, 6, 1, 12, tzinfo=UTC)},
        {"label": "VAT", "percent": "21", "from": datetime(2026, 12, 31, 23, tzinfo=UTC)},
    ]


def test_a_label_stays_until_another_is_given(session, academy):
    edit(session, tax_rate="20", tax_label="VAT", tax_from="2026-07-01")
    edit(session, tax_rate="21", tax_from="2026-08-01")

    assert [rate["label"] for rate in taxes.rates(session, academy)] == ["Tax", "VAT", "VAT"]


def test_a_rate_of_the_same_moment_is_put_right(session, academy):
    edit(session, tax_rate="7.125")

    assert [rate["percent"] for rate in taxes.rates(session, academy)] == ["7.125"]


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
