"""How the parties to an invoice write countries, electronic addresses and accounts."""

import pytest
from babel import Locale

from worker import errors
from worker.billing.parties import address_lines
from worker.tenancy import parties


@pytest.mark.parametrize(("typed", "code"), [("de", "DE"), (" CA ", "CA"), ("JP", "JP")])
def test_a_country_is_known_by_its_code(typed, code):
    assert parties.country(typed) == code


@pytest.mark.parametrize("typed", ["EU", "UK", "XK", "ZZ", "276", "DEU", "Germany", "Д"])
def test_what_is_no_country_of_iso_3166_is_refused(typed):
    with pytest.raises(errors.InvalidInputError, match="is not a country") as refusal:
        parties.country(typed)

    assert refusal.value.field == "country"


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("0088:4012345000009", "0088:4012345000009"),
        ("9930: DE123456789", "9930:DE123456789"),
        ("Invoices@Buyer.example", "EM:invoices@buyer.example"),
        ("em:a@b.example", "EM:a@b.example"),
    ],
)
def test_an_electronic_address_has_a_scheme(typed, address):
    assert parties.electronic_address(typed) == address


@pytest.mark.parametrize("typed", ["4012345000009", "9999:1", "0088:", "1:2", "a@", "urn:x"])
def test_what_is_no_electronic_address_is_refused(typed):
    with pytest.raises(errors.InvalidInputError) as refusal:
        parties.electronic_address(typed)

    assert refusal.value.field == "electronic_address"


def test_a_field_that_is_emptied_is_empty_and_others_are_trimmed():
    given = {"country": " ", "city": " Bonn ", "billing_email": "AP@Buyer.example"}

    assert parties.checked(given) == {
        "country": "", "city": "Bonn", "billing_email": "ap@buyer.example"
    }  # fmt: skip


def test_an_address_is_written_as_on_an_envelope_in_the_readers_language():
    party = {
        "street": "Kai 1\nHaus B", "postcode": "20457", "city": "Hamburg", "country": "DE",
        "address": "not this",
    }  # fmt: skip

    assert address_lines(party, locale=Locale("fr")) == [
        "Kai 1", "Haus B", "20457 Hamburg", "Allemagne"
    ]  # fmt: skip
    assert address_lines({**party, "street": "", "city": ""}, locale=Locale("fr")) == ["not this"]
