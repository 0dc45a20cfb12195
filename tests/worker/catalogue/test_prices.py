from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, Buyer, add_buyer, add_pool, redeem, set_clock
from tests.world import entry_of
from worker import errors
from worker.billing import charges
from worker.catalogue import prices
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import actors, history, organizations


@pytest.fixture
def parent(session: Session) -> Buyer:
    """An organization that sells a course at a list price of 49.90 EUR; it is 1 June 2026."""
    buyer = add_buyer(session, "Parent", time_zone="Europe/Berlin")
    set_clock(session, "2026-06-01T12:00Z")
    return buyer


@pytest.fixture
def grandchild(session: Session, parent: Buyer) -> Buyer:
    """Two levels below the parent, with a pool of the same course."""
    organizations.add(session, actor=OPERATOR, name="Child", parent="Parent")
    organizations.add(session, actor=OPERATOR, name="Grandchild", parent="Child")
    found = organizations.find(session, actor=OPERATOR, name="Grandchild")
    pool = add_pool(session, "Grandchild", parent.course, "Grandchild's")
    return Buyer(found.id, "Grandchild", parent.course, pool)


def set_price(session: Session, price: str, organization: str | None = None, **given: Any) -> Any:
    return prices.set_price(
        session, actor=OPERATOR, course="C-Parent", price=price, organization=organization, **given
    )


def withdraw(session: Session, price: Any, **given: Any) -> Any:
    return prices.withdraw(session, actor=OPERATOR, price=price["id"], **given)


def paid(session: Session, organization: str, at: datetime | None = None) -> str | None:
    found = prices.in_force(
        session, actor=OPERATOR, course="c-parent", organization=organization, at=at
    )
    return found and f"{found['price']} {found['currency']}"


def test_a_price_is_shown_as_it_was_set(session, parent):
    shown = set_price(session, "40", "Parent", from_="2026-07-01", currency="usd")

    assert shown.pop("id").isdecimal()
    assert shown == {
        "course": "C-Parent",
        "organization": "Parent",
        "price": "40.00",
        "currency": "USD",
        "from": datetime(2026, 6, 30, 22, tzinfo=UTC),  # 1 July in Berlin
        "until": None,
        "in_force": False,
    }


def test_a_list_prices_day_begins_in_utc(session, parent):
    shown = set_price(session, "55", from_="2026-07-01")

    assert (shown["organization"], shown["currency"]) == (None, "EUR")
    assert shown["from"] == datetime(2026, 7, 1, tzinfo=UTC)


def test_the_nearest_price_holds(session, parent, grandchild):
    assert paid(session, "Grandchild") == "49.90 EUR"

    set_price(session, "40", "Parent")
    assert paid(session, "Grandchild") == "40.00 EUR"

    set_price(session, "3500", "Child", currency="JPY")
    assert paid(session, "Grandchild") == "3500 JPY"  # never converted

    set_price(session, "0", "Grandchild")
    assert paid(session, "Grandchild") == "0.00 EUR"  # zero is a price
    assert paid(session, "Parent") == "40.00 EUR"


def test_a_nearer_price_holds_over_a_later_one_further_up(session, parent, grandchild):
    set_price(session, "30", "Grandchild", from_="2026-01-01")
    set_price(session, "20", "Parent", from_="2026-05-01")

    assert paid(session, "Grandchild") == "30.00 EUR"


def test_of_one_level_the_latest_that_has_begun_holds(session, parent):
    set_price(session, "30", "Parent", from_="2026-07-01")
    set_price(session, "20", "Parent", from_="2026-06-15")

    found = [
        paid(session, "Parent", datetime(2026, m, d, tzinfo=UTC))
        for m, d in ((6, 10), (6, 20), (7, 2))
    ]

    assert found == ["49.90 EUR", "20.00 EUR", "30.00 EUR"]


def test_a_course_without_a_price_yet_has_none(session, parent):
    assert paid(session, "Parent", datetime(1999, 1, 1, tzinfo=UTC)) is None


def test_a_redemption_is_charged_at_the_price_of_its_moment(session, parent):
    set_price(session, "20", "Parent", from_="2026-06-10T00:00Z")
    set_clock(session, "2026-06-20")

    redeem(session, parent.pool, "2026-06-09T23:59:59.999999", "2026-06-10T00:00")

    items = charges.listing(session, actor=OPERATOR).items
    assert [item["amount"] for item in items] == ["20.00", "49.90"]


def test_a_price_change_leaves_what_was_charged_as_it_was(session, parent):
    redeem(session, parent.pool, "2026-05-20")

    set_price(session, "20", "Parent")

    (item,) = charges.listing(session, actor=OPERATOR).items
    assert item["amount"] == "49.90"


@pytest.mark.parametrize("organization", [None, "Parent", "Grandchild"])
def test_a_price_in_the_past_is_refused_once_something_was_charged_in_its_time(
    session, grandchild, organization
):
    redeem(session, grandchild.pool, "2026-05-20")

    with (
        pytest.raises(errors.PriceInThePastError, match="cannot be changed"),
        session.begin_nested(),
    ):
        set_price(session, "20", organization, from_="2026-05-20")

    assert paid(session, "Grandchild", datetime(2026, 5, 20, 12, tzinfo=UTC)) == "49.90 EUR"


def test_a_price_that_something_was_charged_at_cannot_be_changed(session, parent):
    redeem(session, parent.pool, "2026-05-20")

    with pytest.raises(errors.PriceInThePastError), session.begin_nested():
        set_price(session, "49.91", from_="2000-01-01")


def test_a_withdrawn_price_gives_way_to_the_nearest_ancestors(session, parent, grandchild):
    set_price(session, "40", "Parent")
    own = set_price(session, "30", "Grandchild", from_="2026-01-01")

    shown = withdraw(session, own, from_="2026-07-01")

    assert shown == {
        **own,
        "until": datetime(2026, 7, 1, tzinfo=UTC),
    }  # the grandchild's day is UTC's
    at = [datetime(2026, 6, 30, 23, 59, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)]
    assert [paid(session, "Grandchild", moment) for moment in at] == ["30.00 EUR", "40.00 EUR"]


def test_a_price_is_withdrawn_from_now_and_the_list_price_holds_again(session, parent):
    own = set_price(session, "40", "Parent", from_="2026-05-01")

    shown = withdraw(session, own)

    assert shown["until"] == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert not shown["in_force"]
    assert paid(session, "Parent") == "49.90 EUR"


def test_a_day_of_withdrawal_begins_where_the_organization_is(session, parent):
    own = set_price(session, "40", "Parent")

    shown = withdraw(session, own, from_="2026-07-01")

    assert shown["until"] == datetime(2026, 6, 30, 22, tzinfo=UTC)


def test_a_price_that_was_replaced_does_not_come_back_when_the_newer_one_is_withdrawn(
    session, parent
):
    older = set_price(session, "40", "Parent", from_="2026-05-01")
    newer = set_price(session, "30", "Parent")

    withdraw(session, newer, from_="2026-07-01")

    assert paid(session, "Parent", datetime(2026, 8, 1, tzinfo=UTC)) == "49.90 EUR"
    with pytest.raises(errors.InvalidInputError, match="Another price replaced this one"):
        withdraw(session, older, from_="2026-06-02")


def test_a_price_that_is_withdrawn_before_it_begins_never_holds(session, parent):
    set_price(session, "40", "Parent", from_="2026-05-01")
    coming = set_price(session, "30", "Parent", from_="2026-08-01")

    shown = withdraw(session, coming)

    assert shown["until"] == shown["from"]
    assert paid(session, "Parent", datetime(2026, 9, 1, tzinfo=UTC)) == "40.00 EUR"


def test_the_list_price_cannot_end(session, parent):
    (list_price,) = prices.listing(session, actor=OPERATOR).items

    with pytest.raises(errors.ListPriceCannotEndError, match="price of 0"):
        withdraw(session, list_price)

    assert prices.listing(session, actor=OPERATOR).items == [list_price]


def test_a_price_is_not_withdrawn_for_a_time_in_which_something_was_charged(session, parent):
    own = set_price(session, "40", "Parent", from_="2026-05-01")
    redeem(session, parent.pool, "2026-05-20")

    with pytest.raises(errors.PriceInThePastError), session.begin_nested():
        withdraw(session, own, from_="2026-05-20")

    assert withdraw(session, own, from_="2026-05-21")["until"]


def test_a_withdrawal_is_not_put_off_beyond_what_was_charged_without_the_price(session, parent):
    own = set_price(session, "40", "Parent", from_="2026-05-01")
    withdraw(session, own, from_="2026-05-10")
    redeem(session, parent.pool, "2026-05-20")

    with pytest.raises(errors.PriceInThePastError), session.begin_nested():
        withdraw(session, own, from_="2026-06-15")

    assert withdraw(session, own, from_="2026-05-19")["until"]


def test_withdrawing_again_changes_nothing_and_is_remembered_once(session, parent):
    own = set_price(session, "40", "Parent")
    withdraw(session, own, from_="2026-07-01")

    again = withdraw(session, own, from_="2026-07-01")

    done = history.of(session, thing="price", thing_id=int(own["id"]))
    assert again["until"] == datetime(2026, 6, 30, 22, tzinfo=UTC)
    assert [act["action"] for act in done] == ["price set", "price withdrawn"]
    assert done[1]["organization"] == "Parent"


def test_a_withdrawn_price_that_is_set_again_holds_again(session, parent):
    own = set_price(session, "40", "Parent", from_="2026-07-01")
    withdraw(session, own, from_="2026-08-01")

    shown = set_price(session, "40", "Parent", from_="2026-07-01")

    assert (shown["id"], shown["until"]) == (own["id"], None)


def test_a_redemption_after_the_withdrawal_is_charged_at_the_list_price(session, parent):
    withdraw(session, set_price(session, "20", "Parent"), from_="2026-06-10T00:00Z")
    set_clock(session, "2026-06-20")

    redeem(session, parent.pool, "2026-06-09T23:59:59.999999", "2026-06-10T00:00")

    items = charges.listing(session, actor=OPERATOR).items
    assert [item["amount"] for item in items] == ["49.90", "20.00"]


def test_the_operator_alone_withdraws_prices(session, parent):
    own = set_price(session, "40", "Parent")

    with pytest.raises(errors.ForbiddenError):
        prices.withdraw(
            session, actor=actors.Actor("x", actors.Role.FINANCE, parent.id), price=own["id"]
        )


def test_setting_the_same_price_again_changes_nothing(session, parent):
    redeem(session, parent.pool, "2026-05-20")

    again = set_price(session, "49.90", from_="2000-01-01")

    assert again["price"] == "49.90"
    assert len(prices.listing(session, actor=OPERATOR).items) == 1


def test_a_price_in_the_past_can_be_set_where_nothing_was_charged_at_it(
    session, parent, grandchild
):
    set_price(session, "30", "Child", from_="2026-01-01")
    redeem(session, grandchild.pool, "2026-05-20")
    redeem(session, parent.pool, "2026-05-20")

    set_price(session, "20", "Child", from_="2026-05-21")  # after it
    set_price(session, "25", "Grandchild", from_="2026-05-25")

    assert paid(session, "Grandchild", datetime(2026, 5, 22, tzinfo=UTC)) == "20.00 EUR"


def test_a_past_price_that_holds_for_nobody_who_was_charged_can_be_set(session, grandchild):
    set_price(session, "30", "Child", from_="2026-01-01")
    redeem(session, grandchild.pool, "2026-05-20")

    shown = set_price(session, "20", "Parent", from_="2026-05-01")  # the child's own is nearer

    assert shown["in_force"]


def test_a_future_price_can_be_changed(session, parent):
    set_price(session, "20", "Parent", from_="2026-07-01")

    set_price(session, "21", "Parent", from_="2026-07-01")

    found = prices.listing(
        session, actor=OPERATOR, filters=prices.Filters(organization="Parent")
    ).items
    assert [item["price"] for item in found] == ["21.00"]


def test_a_price_from_now_follows_what_was_charged_while_it_waited(session, parent):
    redeem(session, parent.pool, "2026-06-01T12:00:05")

    shown = set_price(session, "20", "Parent")

    assert shown["from"] == datetime(2026, 6, 1, 12, 0, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("price", "currency", "field"),
    [
        ("-1", None, "price"),
        ("19.999", None, "price"),
        ("1.5", "JPY", "price"),
        ("1.2345", "KWD", "price"),
        ("NaN", None, "price"),
        ("1e3000", None, "price"),
        ("free", None, "price"),
        ("20", "XXX", "currency"),
    ],
)
def test_what_is_no_price_is_refused(session, parent, price, currency, field):
    with pytest.raises(errors.InvalidInputError) as refusal:
        set_price(session, price, "Parent", currency=currency)

    assert refusal.value.field == field


def test_a_currencys_own_decimals_are_allowed(session, parent):
    assert set_price(session, "12.345", "Parent", currency="KWD")["price"] == "12.345"


def test_prices_are_listed_with_their_history(session, parent, grandchild):
    set_price(session, "45", from_="2026-05-01")
    set_price(session, "40", "Parent")
    set_price(session, "30", "Grandchild", from_="2026-08-01")

    items = prices.listing(session, actor=OPERATOR, filters=prices.Filters(course="c-parent")).items

    assert [(i["organization"], i["price"], i["in_force"]) for i in items] == [
        (None, "49.90", False),
        (None, "45.00", True),
        ("Parent", "40.00", True),
        ("Grandchild", "30.00", False),
    ]


def test_finance_reads_list_prices_and_its_own(session, parent, grandchild):
    set_price(session, "40", "Parent")
    set_price(session, "30", "Grandchild")
    finance = actors.Actor("finance", actors.Role.FINANCE, grandchild.id)

    items = prices.listing(session, actor=finance).items

    assert [i["organization"] for i in items] == [None, "Grandchild"]


@pytest.mark.parametrize("role", [role for role in actors.Role if role != actors.Role.OPERATOR])
def test_the_operator_alone_sets_prices(session, parent, role):
    with pytest.raises(errors.ForbiddenError):
        prices.set_price(
            session, actor=actors.Actor("x", role, parent.id), course="C-Parent", price="1"
        )


def test_the_web_knows_an_ancestors_price_but_does_not_list_it(fresh_database):
    def populated(session: Session) -> int:
        add_buyer(session, "Parent")
        child = organizations.add(session, actor=OPERATOR, name="Child", parent="Parent")
        set_price(session, "40", "Parent")
        return int(child["id"])

    child = connections.transaction(populated)
    finance = actors.Actor("finance", actors.Role.FINANCE, child)
    with connections.session(Login.WEB, sees=entry_of(finance.organization_id)) as session:
        found = prices.in_force(session, actor=finance, course="C-Parent", organization="Child")
        listed = prices.listing(session, actor=finance).items

    assert found == {
        "course": "C-Parent",
        "organization": "Child",
        "price": "40.00",
        "currency": "EUR",
    }
    assert [item["organization"] for item in listed] == [None]


def test_a_child_of_a_child_is_priced_in_one_look_per_level(session, parent, grandchild):
    plan = session.scalars(
        text("""EXPLAIN SELECT price.* FROM charge CROSS JOIN LATERAL price_in_force(
                    charge.course_id, charge.organization_id, charge.occurred_at) AS price""")
    )

    assert "Function Scan on price_in_force" not in "\n".join(plan)
