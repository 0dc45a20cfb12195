"""People in a report's tables: marked, and erased where they are recipients too."""

import babel
import pandas as pd

from worker.reporting import personal, showing

ANN, DESK = "ann@example.org", "desk@example.org"


def test_an_erased_recipient_is_replaced_and_the_other_person_of_the_row_stays():
    rows = [(DESK, "Desk", ANN, "Ann"), (ANN, "Ann", DESK, "Desk")]
    frame = pd.DataFrame(rows, columns=["email", "name", "recipient", "recipient_name"])

    page = personal.erased(showing.table(frame, babel.Locale("en")), email=ANN, pseudonym="gone-1")

    assert personal.names_people(page)
    assert "ann" not in page.lower()
    assert page.count("gone-1") == page.count(DESK) == 2


def test_a_list_of_recipients_alone_is_erased_in_its_csv():
    frame = pd.DataFrame(
        [(ANN, "Ann", "A-1")], columns=["recipient", "recipient_name", "reference"]
    )
    frame.attrs["download"] = "handed-out.csv"

    page = personal.erased(showing.table(frame, babel.Locale("en")), email=ANN, pseudonym="gone-1")

    assert personal.erased(page, email="gone-1", pseudonym="gone-2") != page
    assert "Ann" not in page
