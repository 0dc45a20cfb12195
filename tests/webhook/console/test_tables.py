"""Tables in the console: previewed, told of, and only then added or handed out."""

import io
import itertools
import re
import secrets
from html import unescape
from typing import Any

import pytest
import xlsxwriter
from sqlalchemy import text

from tests.webhook.http.test_uploads import Unread
from tests.world import OPERATOR
from webhook.console import tables
from webhook.http import nudging, uploads
from worker.database import connections
from worker.pools import batches, pools
from worker.settings import settings
from worker.tenancy.actors import Role

NUMBERS = itertools.count(1)


def codes(count: int) -> list[str]:
    """Make up keys that no other test has."""
    batch = next(NUMBERS)
    return [f"DESK-{batch:04}-{n:05}" for n in range(count)]


def table(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def figures(place) -> dict[str, int]:
    with connections.session() as session:
        return dict(pools.show(session, actor=OPERATOR, pool=place.world.pool)["keys"])


def listed_batches(place) -> int:
    wanted = batches.Filters(pool=place.world.pool)
    with connections.session() as session:
        return len(batches.listing(session, actor=OPERATOR, filters=wanted).items)


def read_as(html: str) -> dict[str, str]:
    """What each column's choice says."""
    rows = re.findall(r'name="column" value="(.*?)".*?<select(.*?)</select>', html, re.DOTALL)
    chosen = {
        unescape(column): re.findall(r"<option selected>(.*?)<", told) for column, told in rows
    }
    return {column: meanings[0] if meanings else "" for column, meanings in chosen.items()}


@pytest.fixture
def send(somebody, place):
    """What posts one of the pool's forms of tables as a manager."""
    manager = somebody()

    def post(to: str = "keys/add", **form):
        where = f"/pools/{place.world.pool}/{to}"
        return manager.post(where, page=where, **form)

    return post


def test_a_preview_says_what_is_read_as_what_and_changes_nothing(send, place):
    before = figures(place)
    [code] = codes(1)

    shown = send(do="check", pasted=table("Zugangscode;Kurs", f"{code};K8S"))

    assert shown.status_code == 422
    assert "Read: utf-8, columns separated by “;”, heading on line 1. Not read: Kurs." in unescape(
        shown.text
    )
    assert read_as(shown.text) == {"Zugangscode": "code", "Kurs": ""}
    assert "<strong>1</strong> good" in shown.text
    assert figures(place) == before


def test_a_preview_warns_of_a_series(send):
    shown = send(do="check", pasted=table(*codes(3)))

    assert "so whoever has one can guess others" in shown.text


def test_a_preview_makes_no_batch_however_long(send, place):
    before = listed_batches(place)

    shown = send(do="check", pasted=table(*codes(700), "=1+1"))

    assert "<strong>700</strong> good, 1 invalid." in shown.text
    assert listed_batches(place) == before


def test_a_preview_is_a_piece_of_the_page_where_the_browser_asks_for_one(somebody, place):
    manager = somebody()
    where = f"/pools/{place.world.pool}/keys/add"
    token = re.search(r'name="csrf_token" value="(.*?)"', manager.get(where).text)[1]

    shown = manager.client.post(
        f"/console{where}",
        data={"csrf_token": token, "do": "check", "pasted": table(*codes(2))},
        headers={"HX-Request": "true"},
    )

    assert (shown.status_code, "<html" in shown.text) == (200, False)
    assert "<strong>2</strong> good" in shown.text


def test_a_column_of_addresses_stops_until_a_person_says_what_it_is(send, place):
    [code] = codes(1)
    pasted = table("Kulcs;Kontakt", f"{code};ann@example.org")
    columns = {"column": ["Kulcs", "Kontakt"]}

    stopped = send(do="save", pasted=pasted)
    added = send(do="save", pasted=pasted, **columns, meaning=["code", "recipient"])

    assert "“Kontakt” holds e-mail addresses" in unescape(stopped.text)
    assert read_as(stopped.text) == {"Kulcs": "code", "Kontakt": ""}
    assert added.status_code == 303
    assert figures(place)["distributed"] >= 1


def test_a_column_may_be_left(send):
    [code] = codes(1)
    pasted = table("Kulcs;Kontakt", f"{code};ann@example.org")

    shown = send(do="check", pasted=pasted, column=["Kulcs", "Kontakt"], meaning=["code", "ignore"])

    assert read_as(shown.text) == {"Kulcs": "code", "Kontakt": "ignore"}
    assert "<strong>1</strong> good" in shown.text


def test_a_new_preview_leaves_the_controls_in_which_something_is_said(send):
    [code] = codes(1)
    pasted = table("Kulcs;Kontakt", f"{code};ann@example.org", "bad;bob@example.org")
    said = {"column": ["Kulcs", "Kontakt"], "meaning": ["", "ignore"], "anyway": "on"}

    shown = send(do="check", pasted=pasted, **said).text

    assert '<select id="meaning-Kontakt" name="meaning" hx-preserve' in shown
    assert '<select id="meaning-Kulcs" name="meaning" aria-label' in shown
    assert 'name="anyway" checked hx-preserve>' in shown


def test_two_columns_that_look_like_keys_are_offered_to_choose_from(send):
    [one, other] = codes(2)

    shown = send(do="check", pasted=table("this;that", f"{one};{other}"))

    assert "is unclear which column holds the keys" in unescape(shown.text)
    assert list(read_as(shown.text)) == ["this", "that"]


def test_the_keys_of_a_file_are_added(send, place):
    made, [code] = io.BytesIO(), codes(1)
    with xlsxwriter.Workbook(made, {"in_memory": True}) as book:
        book.add_worksheet().write_column(0, 0, ["Voucher", code])
    made.seek(0)
    before = figures(place)["issued"]

    added = send(do="save", pasted="", file=(made, "keys.xlsx"))

    assert added.status_code == 303
    assert figures(place)["issued"] == before + 1


def test_a_file_larger_than_other_requests_may_be_is_taken(send, place):
    content = table(*codes(1_000)).encode() + (b" " * 1023 + b"\n") * (3 << 10)

    added = send(do="save", pasted="", file=(io.BytesIO(content), "keys.txt"))

    assert added.status_code == 303
    assert listed_batches(place) >= 1


def test_lines_unlike_the_others_are_taken_where_that_is_said(send):
    pasted = table(*codes(3), "SUMMERSALE-DESK")

    assert "1 invalid" in send(do="check", pasted=pasted).text
    assert "<strong>4</strong> good" in send(do="check", pasted=pasted, any_shape="on").text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"pasted": " \n"}, "Paste lines, or choose a file."),
        ({"pasted": "DESK-0000-00000", "file": (b"x", "keys.txt")}, "not both"),
        ({"pasted": "", "file": (b"%PDF-1.7", "keys.pdf")}, "It is a PDF"),
    ],
)
def test_what_cannot_be_read_is_said_on_the_page(send, form, words):
    if "file" in form:
        form["file"] = (io.BytesIO(form["file"][0]), form["file"][1])

    shown = send(do="check", **form)

    assert (shown.status_code, words in unescape(shown.text)) == (422, True)


# A new pool


@pytest.fixture
def draft(somebody):
    """What posts the form of a new pool as a manager, with a file."""

    def post(content: bytes, file: str, **form):
        return somebody().post("/pools/new", file=(io.BytesIO(content), file), **form)

    return post


def pasted(page: str) -> str:
    return unescape(re.search(r'name="pasted"[^>]*>\n(.*?)</textarea>', page, re.S)[1])


def test_a_file_becomes_lines_of_a_new_pool_and_what_was_read_is_told(draft):
    made = io.BytesIO()
    with xlsxwriter.Workbook(made, {"in_memory": True}) as book:
        for row, cells in enumerate([("Zugangscode", "Kurs"), (codes(1)[0], "K8S")]):
            book.add_worksheet("Keys") if not row else None
            book.worksheets()[0].write_row(row, 0, cells)

    shown = draft(made.getvalue(), "keys.xlsx", do="lines", name="Kept name")

    assert shown.status_code == 200
    assert pasted(shown.text).startswith("Zugangscode\tKurs\n")
    assert "Read: the sheet “Keys”" in unescape(shown.text)
    assert "2 lines are pasted." in shown.text
    assert 'value="Kept name"' in shown.text


def test_a_pool_is_saved_with_the_keys_of_a_file_that_was_not_read_before(draft, place):
    with connections.session() as session:
        like = pools.show(session, actor=OPERATOR, pool=place.world.pool)
    form = {name: like[name] for name in ("organization", "course")} | {
        "name": "Of a file", "starts": "2026-01-01", "expires": "2090-12-31", "content_availability": "9",
    }  # fmt: skip

    made = draft("Schlüssel\n".encode("cp1252") + codes(1)[0].encode(), "keys.csv", **form)

    assert made.status_code == 303
    with connections.session() as session:
        assert pools.show(session, actor=OPERATOR, pool="Of a file")["keys"]["issued"] == 1


def test_lines_and_a_file_or_no_table_are_refused_and_nothing_typed_is_lost(draft):
    both = draft(b"DESK-0000-00001", "keys.txt", do="lines", pasted="DESK-0000-00000", name="Kept")
    none = draft(b"%PDF-1.7", "keys.pdf", do="lines", name="Kept")

    assert (both.status_code, none.status_code) == (422, 422)
    assert "not both" in both.text
    assert (pasted(both.text), 'value="Kept"' in both.text) == ("DESK-0000-00000", True)
    assert "It is a PDF" in none.text


def test_a_file_of_too_many_lines_for_a_new_pool_says_where_to_add_it(draft, monkeypatch):
    monkeypatch.setattr(tables, "LARGEST_PASTED", 1 << 20)

    shown = draft(b"DESK-0000-00001\n" * 70_000, "keys.txt", do="lines")

    assert shown.status_code == 422
    assert "more than 1 million characters: save the pool first" in shown.text


# Recipients


def test_keys_are_handed_to_everybody_in_a_table_after_a_preview_that_hands_out_nothing(
    send, place
):
    send(do="save", pasted=table(*codes(5)))
    before = figures(place)["distributed"]
    pasted = table("E-Mail;Anzahl;Status", "zora@example.org;2;paid", "yan@example.org;1;refunded")

    shown = send("distribute/table", do="check", pasted=pasted)
    previewed = figures(place)["distributed"]
    handed = send("distribute/table", do="save", pasted=pasted)

    assert read_as(shown.text) == {"E-Mail": "email", "Anzahl": "count", "Status": "state"}
    assert "<strong>1</strong> recipients get 2 keys." in shown.text
    assert "Its state is “refunded”." in unescape(shown.text)
    assert (previewed, figures(place)["distributed"]) == (before, before + 2)
    assert handed.status_code == 303


def test_everybody_in_a_table_is_sent_their_key_where_that_is_ticked(send, place, monkeypatch):
    send(do="save", pasted=table(*codes(3)))
    nudged: list[str] = []
    monkeypatch.setattr(nudging.nudger, "ask", nudged.append)
    one, two = (f"{secrets.token_hex(4)}@example.org" for _ in range(2))

    send("distribute/table", do="check", mail="1", pasted=table("email", one))
    send("distribute/table", do="save", pasted=table("email", one))
    before = nudged.count("mail")
    send("distribute/table", do="save", mail="1", pasted=table("email", two))

    with connections.session() as session:
        mailed = session.scalars(
            text("SELECT recipient FROM message WHERE recipient = ANY (:them)"),
            {"them": [one, two]},
        ).all()
    assert mailed == [two]
    assert (before, nudged.count("mail")) == (0, 1)


def test_all_wrong_rows_of_a_table_are_shown(send):
    pasted = table("email;count", ";1", "no-at-sign;1", "yan@example.org;0")

    shown = send("distribute/table", do="save", pasted=pasted)

    assert shown.status_code == 422
    assert re.findall(r"<td>(\d)</td>", shown.text) == ["2", "3", "4"]


def test_labels_are_given_with_keys_shown_counted_and_filtered_by(send, place, somebody):
    one, two = codes(2)
    label = f"gold {one}"
    where = f"/pools/{place.world.pool}"

    send(pasted=f"{one}\n{two}\n", labels=f"{label}, Berlin")
    send("keys/generate", generate="1", labels="made")
    send("distribute/table", pasted=table("email", "ann@example.org"), labels="vip")

    page = somebody().get(f"{where}?label={label}").text
    exported = somebody().get(f"{where}/keys.csv?label={label}&labels=yes").text
    assert one in page
    assert two in page
    assert f">{label}</a>, <a" in page
    assert "with labels" in page
    assert exported.splitlines()[0].endswith(",labels")
    assert f'"{label}, Berlin' in exported


def test_a_long_table_for_what_is_not_there_or_not_theirs_is_not_read(place, somebody):
    form = "multipart/form-data; boundary=x"
    there, elsewhere = (f"/console/pools/{pool}/keys/add" for pool in (place.world.pool, "999999"))
    manager, analyst = somebody(), somebody(Role.ANALYST)

    answers = [
        person.client.post(path, input_stream=Unread(), content_type=form)
        for person, path in ((manager, elsewhere), (analyst, there), (analyst, elsewhere))
    ]

    assert {answer.status_code for answer in answers} == {413}


def test_a_long_table_leaves_its_place_for_the_next(place, somebody, monkeypatch):
    monkeypatch.setenv("KEYPOOL_UPLOADS_AT_ONCE", "1")
    settings.cache_clear()
    lines = table(*codes(120_000)).encode()

    def preview() -> Any:
        path = f"/pools/{place.world.pool}/keys/add"
        return somebody().post(
            path,
            page=f"/pools/{place.world.pool}/keys",
            do="check",
            file=(io.BytesIO(lines), "keys.txt"),
        )

    first, second = preview(), preview()
    uploads.places.take(None)
    third = preview()
    uploads.places.leave(None)
    monkeypatch.undo()
    settings.cache_clear()

    assert first.status_code == second.status_code == 422  # a preview saves nothing
    assert (third.status_code, third.headers["Retry-After"]) == (503, "2")
