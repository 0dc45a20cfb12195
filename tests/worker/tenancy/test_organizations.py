import pytest
from sqlalchemy.orm import Session

from tests.world import OPERATOR
from worker import errors
from worker.catalogue import courses, prices
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role


def add(session: Session, name: str, **given: object) -> dict:
    return organizations.add(session, actor=OPERATOR, name=name, **given)


def test_an_organization_is_shown_with_its_parents_name(session):
    add(session, "Acme")
    child = add(session, "Acme Berlin", parent="Acme", time_zone="Europe/Berlin", currency="eur")

    assert child == {
        "id": child["id"],
        "name": "Acme Berlin",
        "parent": "Acme",
        "time_zone": "Europe/Berlin",
        "currency": "EUR",
    }


def test_an_organization_is_shown_with_what_its_invoices_print_and_its_tax_rates(session):
    add(session, "Acme", tax_rate="19")
    printed = {
        "legal_name": "Acme GmbH",
        "address": "Dock 1",
        "tax_id": "DE136695976",
        "locale": "de",
    }
    organizations.edit(session, actor=OPERATOR, organization="Acme", **printed)

    told = organizations.show(session, actor=OPERATOR, organization="Acme")

    assert printed.items() <= told.items()
    assert told["payment_terms_days"] == 30
    assert [(rate["label"], rate["percent"]) for rate in told["tax_rates"]] == [("Tax", "19")]


def test_a_sender_learns_nothing_of_what_invoices_print(session):
    acme = int(add(session, "Acme")["id"])

    with pytest.raises(errors.ForbiddenError):
        organizations.show(session, actor=Actor("s", Role.SENDER, acme), organization="Acme")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"currency": "XXQ"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"tax_rate": "101"}, "tax_rate"),
        ({"tax_rate": "a lot"}, "tax_rate"),
        ({"tax_rate": "NaN"}, "tax_rate"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 201}, "name"),
    ],
)
def test_a_wrong_field_is_refused_and_named(session, given, field):
    with pytest.raises(errors.InvalidInputError) as refused:
        add(session, **{"name": "Acme", **given})

    assert refused.value.field == field


def test_a_parent_that_would_make_a_circle_is_refused(session):
    add(session, "Acme")
    add(session, "Acme Berlin", parent="Acme")
    add(session, "Acme Mitte", parent="Acme Berlin")

    with pytest.raises(errors.CircularParentError):
        organizations.edit(session, actor=OPERATOR, organization="Acme", parent="Acme Mitte")


def test_an_organization_cannot_be_its_own_parent(session):
    add(session, "Acme")

    with pytest.raises(errors.CircularParentError):
        organizations.edit(session, actor=OPERATOR, organization="Acme", parent="Acme")


def test_a_name_is_unique_in_the_system(session):
    add(session, "Acme")

    with pytest.raises(errors.AlreadyExistsError):
        add(session, "Acme")


def test_an_actor_sees_its_own_tree_alone(session):
    acme = add(session, "Acme")
    add(session, "Acme Berlin", parent="Acme")
    add(session, "Stranger")
    actor = Actor("token", Role.MANAGER, int(acme["id"]))

    assert [o["name"] for o in organizations.listing(session, actor=actor)] == [
        "Acme",
        "Acme Berlin",
    ]
    with pytest.raises(errors.NotFoundError):
        organizations.find(session, actor=actor, name="Stranger")


def test_a_name_made_of_digits_wins_over_an_id(session):
    acme = add(session, "Acme")
    digits = add(session, acme["id"])

    found = organizations.find(session, actor=OPERATOR, name=acme["id"])

    assert str(found.id) == digits["id"]


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
def test_only_the_operator_adds_organizations_and_courses(session, role):
    acme = add(session, "Acme")
    actor = Actor("token", role, int(acme["id"]))

    with pytest.raises(errors.ForbiddenError):
        organizations.add(session, actor=actor, name="Acme Berlin")
    with pytest.raises(errors.ForbiddenError):
        courses.add(session, actor=actor, code="C", title="T", price="1", currency="EUR")


def test_what_is_done_to_an_organization_is_in_the_history(session):
    acme = add(session, "Acme")
    organizations.edit(session, actor=OPERATOR, organization="Acme", time_zone="Asia/Tokyo")

    acts = history.of(session, thing="organization", thing_id=int(acme["id"]))

    assert [act["action"] for act in acts] == ["organization added", "organization edited"]
    assert acts[1]["detail"] == {"time_zone": "Asia/Tokyo"}


@pytest.mark.parametrize(
    ("price", "currency"),
    [
        ("49.901", "EUR"),
        ("1000.5", "JPY"),
        ("1.2345", "KWD"),
        ("-1", "EUR"),
        ("free", "EUR"),
        ("1e12", "EUR"),
        ("NaN", "EUR"),
        ("Infinity", "EUR"),
        ("", "EUR"),
        ("49.90", "BTC"),
    ],
)
def test_a_price_that_does_not_fit_its_currency_is_refused_and_leaves_no_course(
    session, price, currency
):
    with pytest.raises(errors.InvalidInputError), session.begin_nested():
        courses.add(session, actor=OPERATOR, code="C", title="T", price=price, currency=currency)

    assert courses.listing(session) == []


@pytest.mark.parametrize(
    ("price", "currency", "shown"),
    [
        ("49.9", "EUR", "49.90"),
        ("1000", "JPY", "1000"),
        ("1.5", "KWD", "1.500"),
        ("0", "USD", "0.00"),
    ],
)
def test_a_price_is_shown_in_its_currencys_minor_unit(session, price, currency, shown):
    course = courses.add(
        session, actor=OPERATOR, code="C", title="T", price=price, currency=currency
    )

    assert (course["price"], course["currency"]) == (shown, currency)


def test_a_courses_code_is_found_in_any_letter_case(session):
    courses.add(session, actor=OPERATOR, code="K8S-101", title="T", price="1", currency="EUR")

    assert courses.find(session, name="k8s-101").code == "K8S-101"
    with pytest.raises(errors.AlreadyExistsError):
        courses.add(session, actor=OPERATOR, code="k8s-101", title="T", price="1", currency="EUR")


def test_courses_are_searched_by_a_piece_of_code_or_title_as_written(session):
    for code, title in [("A-1", "100% Kubernetes"), ("A-2", "1000 Tips")]:
        courses.add(session, actor=OPERATOR, code=code, title=title, price="1", currency="EUR")

    assert [c["code"] for c in courses.listing(session, filters=courses.Filters("100%"))] == ["A-1"]


def test_archiving_again_changes_nothing(session):
    courses.add(session, actor=OPERATOR, code="C", title="T", price="1", currency="EUR")

    first = courses.archive(session, actor=OPERATOR, course="C")

    assert first["archived"] is True
    assert courses.archive(session, actor=OPERATOR, course="C") == first


def test_a_new_list_price_is_shown_from_its_day_on(session):
    courses.add(session, actor=OPERATOR, code="C", title="T", price="10", currency="EUR")
    prices.set_price(session, actor=OPERATOR, course="C", price="12", from_="2080-01-01")

    assert courses.listing(session)[0]["price"] == "10.00"


def test_an_organization_is_made_a_root_again(session):
    organizations.add(session, actor=OPERATOR, name="Above")
    organizations.add(session, actor=OPERATOR, name="Below", parent="Above")

    edited = organizations.edit(session, actor=OPERATOR, organization="Below", no_parent=True)

    assert edited["parent"] is None
    with pytest.raises(errors.InvalidInputError, match="Give a parent, or say that it has none"):
        organizations.edit(
            session, actor=OPERATOR, organization="Below", parent="Above", no_parent=True
        )
