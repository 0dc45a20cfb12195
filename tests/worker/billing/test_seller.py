"""The seller: who it is, where it is paid, and what of it is copied onto invoices."""

import pytest
from sqlalchemy import text

from tests.ledger import OPERATOR, add_buyer, redeem, set_clock
from worker import errors
from worker.billing import invoices, runs, seller
from worker.tenancy import actors, history, organizations

IBAN, BIC = "DE89370400440532013000", "COBADEFFXXX"
POSTAL = {"street": "Kai 1\nHaus B", "postcode": "20457", "city": "Hamburg", "country": "DE"}


def edit(session, **given):
    return seller.edit(session, actor=OPERATOR, **given)


def draft_of(session, buyer):
    redeem(session, buyer.pool, "2026-05-20")
    set_clock(session, "2026-06-02T12:00Z")
    runs.bill(session, actor=OPERATOR, organization_id=buyer.id)
    (made,) = invoices.listing(
        session, actor=OPERATOR, filters=invoices.Filters(organization=buyer.name)
    ).items
    return made


def test_the_seller_is_edited_and_shown(session):
    shown = seller.edit(session, actor=OPERATOR, name=" Operator GmbH ", address="Street 1\nTown")

    assert shown == seller.show(session)
    assert (shown["name"], shown["address"]) == ("Operator GmbH", "Street 1\nTown")


def test_the_seller_has_a_name(session):
    with pytest.raises(errors.InvalidInputError, match="name"):
        seller.edit(session, actor=OPERATOR, name=" ")


def test_the_operator_alone_edits_the_seller(session):
    finance = actors.Actor("x", actors.Role.FINANCE, 1)

    with pytest.raises(errors.ForbiddenError):
        seller.edit(session, actor=finance, name="Somebody else")


def test_the_seller_has_an_address_in_parts_and_somebody_to_ask(session):
    given = {
        **POSTAL,
        "contact": "Ann Onym",
        "phone": "+49 40 1",
        "electronic_address": "0088:4012",
    }

    shown = edit(session, **given, email=" Desk@Operator.example ")

    assert given.items() <= shown.items()
    assert shown["email"] == "desk@operator.example"


def test_accounts_are_kept_by_currency_and_one_without_an_iban_is_removed(session):
    edit(session, banks=[{"currency": "eur", "iban": "de89 3704 0044 0532 0130 00", "bic": BIC}])
    both = edit(session, banks=[{"currency": "GBP", "iban": "GB33BUKB20201555555555"}])

    left = edit(session, banks=[{"currency": "GBP", "iban": ""}])

    euros = {"currency": "EUR", "iban": IBAN, "bic": BIC}
    assert both["banks"] == [
        euros, {"currency": "GBP", "iban": "GB33BUKB20201555555555", "bic": ""}
    ]  # fmt: skip
    assert left["banks"] == [euros]
    assert history.of(session, thing="seller", thing_id=1)[0]["detail"] == {"banks": [euros]}


@pytest.mark.parametrize(
    ("account", "sentence"),
    [
        ({"currency": "EUR", "iban": "DE89370400440532013001"}, "is not an IBAN"),
        ({"currency": "EUR", "iban": IBAN, "bic": "COBA"}, "is not a BIC"),
        ({"currency": "XXX", "iban": IBAN}, "is not a currency"),
    ],
)
def test_what_is_no_account_is_refused(session, account, sentence):
    with pytest.raises(errors.InvalidInputError, match=sentence) as refusal:
        edit(session, banks=[account])

    assert refusal.value.field == "bank"


def test_the_seller_lacks_what_every_invoice_prints(session):
    session.execute(
        text("UPDATE seller SET name = '', tax_id = '', street = '', city = '', country = ''")
    )

    lacking = [
        edit(session, contact="Ann")["lacks"],
        edit(session, name="Operator", street="Kai 1", city="Hamburg")["lacks"],
        edit(session, country="de")["lacks"],
        edit(session, country="", address="Kai 1\nHamburg")["lacks"],
        edit(session, tax_id="12/345/67890")["lacks"],
    ]

    assert lacking == [
        ["name", "address", "tax id"], ["address", "tax id"], ["tax id"], ["tax id"], []
    ]  # fmt: skip


def test_an_invoice_has_the_account_of_its_currency_and_keeps_what_it_was_finalized_with(session):
    edit(session, **POSTAL, banks=[
        {"currency": "EUR", "iban": IBAN, "bic": BIC},
        {"currency": "USD", "iban": "GB33BUKB20201555555555"},
    ])  # fmt: skip
    buyer = add_buyer(session)
    organizations.edit(
        session, actor=OPERATOR, organization=buyer.name, street="Weg 2", city="Bonn", country="de",
        buyer_reference="04011000-12345-34", purchase_order="PO-7", billing_email="AP@academy.example",
        electronic_address="ap@academy.example",
    )  # fmt: skip
    draft = draft_of(session, buyer)

    final = invoices.finalize(session, actor=OPERATOR, invoice=draft["id"])
    edit(session, street="Elsewhere", banks=[{"currency": "EUR", "iban": ""}])
    organizations.edit(session, actor=OPERATOR, organization=buyer.name, city="Elsewhere")
    kept = invoices.show(session, actor=OPERATOR, invoice=draft["id"])

    assert draft["seller"]["bank"] == {"iban": IBAN, "bic": BIC}
    assert POSTAL.items() <= kept["seller"].items()
    assert (kept["seller"], kept["buyer"]) == (final["seller"], draft["buyer"])
    assert {
        "street": "Weg 2", "city": "Bonn", "country": "DE", "buyer_reference": "04011000-12345-34",
        "purchase_order": "PO-7", "billing_email": "ap@academy.example",
        "electronic_address": "EM:ap@academy.example",
    }.items() <= kept["buyer"].items()  # fmt: skip


def test_an_invoice_of_the_first_release_is_read_with_its_address_in_lines(session):
    draft = draft_of(session, add_buyer(session))
    session.execute(
        text("""UPDATE invoice SET status = 'finalized', year = 2026, serial = 900, issued_on = '2026-06-02',
                       finalized_at = now(), due_on = '2026-07-02',
                       seller = '{"name": "Operator", "tax_id": "", "address": "Dock 1\\nPort",
                                  "payment_details": "Cash"}',
                       buyer = '{"name": "Academy", "locale": "en", "tax_id": "", "address": "Weg 2",
                                 "time_zone": "UTC", "payment_terms_days": 30}'
                 WHERE id = :id"""),
        {"id": int(draft["id"])},
    )

    shown = invoices.show(session, actor=OPERATOR, invoice=draft["id"])

    assert shown["seller"]["address"] == "Dock 1\nPort"
    assert (shown["seller"]["city"], shown["seller"]["bank"]) == ("", None)
    assert (shown["buyer"]["address"], shown["buyer"]["purchase_order"]) == ("Weg 2", "")
