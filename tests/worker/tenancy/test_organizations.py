import pytest
from sqlalchemy.orm import Session

from tests.world import OPERATOR
from worker import errors
from worker.catalogue import courses, prices
from worker.tables.labels import RedeemPage
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
        "redeem_url": None,
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

    assert [o["name"] for o in organizations.listing(session, actor=actor).items] == [
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

    assert courses.listing(session).items == []


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

    assert [c["code"] for c in courses.listing(session, filters=courses.Filters("100%")).items] == [
        "A-1"
    ]


def test_archiving_again_changes_nothing(session):
    courses.add(session, actor=OPERATOR, code="C", title="T", price="1", currency="EUR")

    first = courses.archive(session, actor=OPERATOR, course="C")

    assert first["archived"] is True
    assert courses.archive(session, actor=OPERATOR, course="C") == first


def test_a_new_list_price_is_shown_from_its_day_on(session):
    courses.add(session, actor=OPERATOR, code="C", title="T", price="10", currency="EUR")
    prices.set_price(session, actor=OPERATOR, course="C", price="12", from_="2080-01-01")

    assert courses.listing(session).items[0]["price"] == "10.00"


def test_an_organization_is_made_a_root_again(session):
    organizations.add(session, actor=OPERATOR, name="Above")
    organizations.add(session, actor=OPERATOR, name="Below", parent="Above")

    edited = organizations.edit(session, actor=OPERATOR, organization="Below", no_parent=True)

    assert edited["parent"] is None
    with pytest.raises(errors.InvalidInputError, match="Give a parent, or say that it has none"):
        organizations.edit(
            session, actor=OPERATOR, organization="Below", parent="Above", no_parent=True
        )


# The redeem page's settings


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Acme Training", "acme-training"),
        ("  Röhm & Söhne Straßenbau GmbH ", "roehm-soehne-strassenbau-gmbh"),
        ("École d'été №3", "ecole-d-ete-no3"),
        ("株式会社", "organization"),
        ("A" * 200, "a" * 48),
    ],
)
def test_an_organizations_slug_is_made_from_its_name(session, name, slug):
    add(session, name)

    assert shown(session, name.strip())["slug"] == slug


def test_organizations_whose_names_make_one_slug_get_numbers(session):
    for name in ("Acme", "acme", "ACME!"):
        add(session, name)

    slugs = [shown(session, name)["slug"] for name in ("Acme", "acme", "ACME!")]
    assert slugs == ["acme", "acme-2", "acme-3"]


def test_a_slug_stays_when_the_name_changes_and_is_made_anew_when_it_is_emptied(session):
    add(session, "Acme")

    kept = edited(session, "Acme", name="Bolt")["slug"]
    made = edited(session, "Bolt", slug="")["slug"]

    assert (kept, made) == ("acme", "bolt")


def test_the_settings_of_a_redeem_page_are_kept_in_one_form(session):
    add(session, "Acme")
    before = shown(session, "Acme")

    told = edited(
        session,
        "Acme",
        slug=" Acme-2026 ",
        redeem_page="proof",
        redeem_domains=["@Bücher.example", "acme.test", "ACME.test", " "],
        redeem_languages=["DE", "en", "de"],
        redeem_text="Your key is on the card.\n",
        support_email="Help@Acme.Test",
    )

    assert (before["redeem_page"], before["redeem_domains"]) == (RedeemPage.OFF, [])
    assert {
        "slug": "acme-2026",
        "redeem_page": RedeemPage.PROOF,
        "redeem_domains": ["xn--bcher-kva.example", "acme.test"],
        "redeem_languages": ["de", "en"],
        "redeem_text": "Your key is on the card.",
        "support_email": "help@acme.test",
    }.items() <= told.items()


@pytest.mark.parametrize(
    "given",
    [
        {"slug": "no spaces"},
        {"slug": "taken"},
        {"redeem_page": "maybe"},
        {"redeem_domains": ["ann@acme.test"]},
        {"redeem_domains": ["acme..test"]},
        {"redeem_languages": ["la"]},
        {"redeem_text": "x" * 2001},
        {"support_email": "help"},
    ],
)
def test_a_wrong_setting_of_a_redeem_page_is_refused_by_its_field(session, given):
    add(session, "Acme")
    add(session, "Taken")

    with pytest.raises(errors.KeypoolError) as refused, session.begin_nested():
        edited(session, "Acme", **given)

    assert vars(refused.value).get("field") == next(iter(given))


def edited(session: Session, organization: str, **given: object) -> dict:
    done = organizations.edit(session, actor=OPERATOR, organization=organization, **given)
    return shown(session, done["name"])


def shown(session: Session, organization: str) -> dict:
    return organizations.show(session, actor=OPERATOR, organization=organization)
