"""Tables over HTTP: what a body may be, how it is read, and what is answered where it is wrong."""

import gzip
import io
import itertools
import json

import pytest
import xlsxwriter
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests.webhook.conftest import Place
from tests.world import OPERATOR, build
from webhook.http import nudging
from worker.database import connections
from worker.database.connections import Login
from worker.pools import batches, keys
from worker.tenancy.actors import Role

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
NUMBERS = itertools.count(1)


def codes(count: int) -> list[str]:
    """Make up keys that no other test has."""
    batch = next(NUMBERS)
    return [f"HTTP-{batch:04}-{n:05}" for n in range(count)]


def lines(*some: str) -> bytes:
    return "".join(f"{line}\r\n" for line in some).encode()


@pytest.fixture
def post(place: Place):
    """What posts a body to one of the pool's collections."""
    manager = place.token(Role.MANAGER)

    def send(
        body: bytes, kind: str = "text/csv", query: str = "", to: str = "keys", **headers: str
    ):
        return place.client.post(
            f"/api/v1/pools/{place.world.pool}/{to}{query}",
            data=body,
            headers=manager | {"Content-Type": kind, **headers},
        )

    return send


def workbook(*rows: list[str]) -> bytes:
    made = io.BytesIO()
    with xlsxwriter.Workbook(made, {"in_memory": True}) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
    return made.getvalue()


def test_a_report_says_what_was_read_as_what(post):
    [code] = codes(1)

    told = post(lines("Zugangscode;Kurs", f"{code};K8S")).json

    assert told["read"] == {
        "encoding": "utf-8",
        "delimiter": ";",
        "heading_line": 1,
        "columns": {"code": "Zugangscode"},
        "not_read": ["Kurs"],
        "sheet": None,
        "other_sheets": [],
        "warnings": [],
    }
    assert told["added"] == 1


@pytest.mark.parametrize("count", [3, 700])
def test_a_series_is_taken_with_a_warning(post, count):
    told = post(lines(*codes(count))).json

    [warning] = told["read"]["warnings"]
    assert "so whoever has one can guess others" in warning


def test_a_workbook_is_taken_by_its_media_type(post):
    [code] = codes(1)

    told = post(workbook(["Code"], [code]), XLSX)

    assert (told.status_code, told.json["added"], told.json["read"]["sheet"]) == (201, 1, "Sheet1")


def test_a_declared_charset_wins(post):
    [code] = codes(1)
    body = f"Code;Name\n{code};Łukasz\n".encode("iso8859_2")

    told = post(body, "text/csv; charset=iso-8859-2").json

    assert (told["added"], told["read"]["encoding"]) == (1, "iso8859-2")


def test_columns_are_told_each_in_a_parameter_of_its_own(post):
    [code] = codes(1)
    body = lines("this;that;whom", f"{code};12345678;ann@example.org")

    stopped = post(body)
    told = post(body, query="?column=code=this&column=recipient=whom&ignore=that")

    assert (stopped.status_code, stopped.json["field"]) == (422, "column")
    assert told.json["read"]["columns"] == {"code": "this", "recipient": "whom"}


@pytest.mark.parametrize("count", [3, 600])
def test_a_dry_run_makes_no_key_and_no_batch_however_long(post, place, count):
    before = place.client.get("/api/v1/batches", headers=place.token(Role.MANAGER)).json["items"]
    body = lines(*codes(count), "=1+1")

    tried = post(body, "text/plain", "?dry_run=true")
    after = place.client.get("/api/v1/batches", headers=place.token(Role.MANAGER)).json["items"]

    assert tried.status_code == 201
    assert (tried.json["batch"], tried.json["added"], tried.json["invalid"]) == (None, count, 1)
    assert after == before
    assert post(body, "text/plain", "?dry_run=true").json == tried.json


def test_a_dry_run_needs_no_temporary_table(post):
    with pytest.raises(ProgrammingError, match="temporary"), connections.session(Login.WEB) as web:
        web.execute(text("CREATE TEMPORARY TABLE tried ()"))

    tried = post(lines(*codes(2)), "text/plain", "?dry_run=true")

    assert (tried.status_code, tried.json.get("added")) == (201, 2)


def test_a_dry_run_tells_of_keys_of_other_organizations_that_they_are_there(post):
    [code] = codes(1)
    with connections.session() as session:
        other = build(session, name="Elsewhere")
        keys.add_keys(session, actor=OPERATOR, pool=other.pool, codes=[code])

    tried = post(lines(code), "text/plain", "?dry_run=true").json

    assert (tried["added"], tried["already_exists"]) == (0, 1)


def test_lines_unlike_the_others_are_taken_where_that_is_said(post):
    body = lines(*codes(3), "SUMMERSALE-HTTP")

    assert post(body).json["invalid"] == 1
    assert post(body, query="?any_shape=true").json["added"] == 1


def test_a_large_table_is_a_batch_whose_report_says_what_was_read(post, place):
    made = post(lines("Code;Kurs", *(f"{code};K8S" for code in codes(600))))
    while connections.transaction(batches.work_chunk) is not None:
        pass

    report = place.client.get(
        made.headers["Location"] + "/report", headers=place.token(Role.MANAGER)
    ).json

    assert made.status_code == 202
    assert (report["added"], report["read"]["not_read"]) == (600, ["Kurs"])


# What is answered where it is wrong


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (workbook(["AAAA-0001"]), "text/plain", "It is a workbook (xlsx) and no text"),
        (b"AAAA-0001\n", XLSX, "It is text and no workbook"),
        (gzip.compress(b"AAAA-0001\n", mtime=0), "text/plain", "It is compressed (gzip)"),
        (b"AAAA-0001\n", "text/csv; charset=latin-77", "There is no character encoding"),
    ],
)
def test_a_body_of_another_kind_than_was_said_has_its_own_sentence(post, body, kind, words):
    told = post(body, kind)

    assert (told.status_code, words in told.json["detail"]) == (422, True)


@pytest.mark.parametrize("to", ["keys", "distributions"])
@pytest.mark.parametrize(
    "kind",
    ["application/octet-stream", "multipart/form-data; boundary=x", "application/zip", "image/png"],
)
def test_a_body_of_a_type_that_is_not_taken_is_415(post, to, kind):
    told = post(b"AAAA-0001\n", kind, to=to)

    assert told.status_code == 415
    assert "text/csv" in told.json["detail"]


@pytest.mark.parametrize("to", ["keys", "distributions"])
def test_a_compressed_body_is_415(post, to):
    told = post(
        gzip.compress(b"AAAA-0001\n", mtime=0), "text/csv", to=to, **{"Content-Encoding": "gzip"}
    )

    assert (told.status_code, "not compressed" in told.json["detail"]) == (415, True)


def test_an_object_with_a_list_in_it_is_told_what_to_send(post):
    told = post(json.dumps({"codes": ["AAAA-0001"]}).encode(), "application/json")

    assert (told.status_code, told.json["field"]) == (422, "codes")
    assert "Send the list of codes itself" in told.json["detail"]


def test_every_wrong_row_of_recipients_is_told_with_its_line(post):
    told = post(
        lines("email,count", "ann@example.org,1", ",1", "bob@example.org,0"), to="distributions"
    )

    assert told.status_code == 422
    assert [row["line"] for row in told.json["rows"]] == [3, 4]
    assert "There is no recipient" in told.json["rows"][0]["reason"]


def test_recipients_are_served_with_what_the_query_says_for_rows_that_say_nothing(post):
    post(lines(*codes(4)))
    body = lines("email,order", "carl@example.org,B-1", "dora@example.org,")

    tried = post(body, query="?count=2&reference=X-1&dry_run=true", to="distributions").json
    told = post(body, query="?count=2&reference=X-1", to="distributions").json

    assert [item["keys"] for item in tried["items"]] == [[], []]
    assert [(i["reference"], i["given"]) for i in told["items"]] == [("B-1", 2), ("X-1", 2)]
    assert told["read"]["columns"] == {"email": "email", "reference": "order"}


def test_a_mail_is_asked_to_be_sent_soon_only_where_one_is_written(post, monkeypatch):
    post(lines(*codes(4)))
    nudged: list[str] = []
    monkeypatch.setattr(nudging.nudger, "ask", nudged.append)

    def hand(query: str, mail: bool) -> list[str]:
        address = f"{next(NUMBERS)}@example.org"
        body = json.dumps({"recipient": address, "mail": mail}).encode()
        answers = [
            post(body, "application/json", query, to="distributions"),
            post(lines("email", f"t{address}"), query=f"{query}&mail={mail}", to="distributions"),
        ]
        assert [answer.status_code for answer in answers] == [201, 201]
        return nudged[:]

    assert hand("?reference=A", mail=False) == []
    assert hand("?reference=B&dry_run=true", mail=True) == []
    assert hand("?reference=C", mail=True) == ["mail", "mail"]


def test_labels_come_with_a_table_with_codes_with_a_generation_and_with_recipients(post, place):
    one, two, three = codes(3)
    label = f"gold {one}"
    words = json.dumps({"generate": 2, "labels": [f"made {one}"]}).encode()
    given = json.dumps({"recipient": one, "labels": ["vip"]}).encode()

    post(lines("code,labels", f"{one},silver", f"{two},"), query=f"?label={label}&label=b")
    post(json.dumps([three]).encode(), "application/json", f"?label={label}")
    batch = post(words, "application/json").json
    [handed] = post(given, "application/json", to="distributions").json["keys"]
    post(lines("email,code,tags", f"bob@example.org,{two},late"), to="distributions")

    manager = place.token(Role.MANAGER)
    where = f"/api/v1/pools/{place.world.pool}"
    listed = place.client.get(f"{where}/keys?label={label}", headers=manager).json["items"]
    counted = place.client.get(f"{where}/labels", headers=manager).json["items"]
    table = place.client.get(
        f"{where}/keys?label={label}&labels=true&format=csv", headers=manager
    ).text
    assert "vip" in place.client.get(f"/api/v1/keys/{handed}", headers=manager).json["labels"]
    assert {key["code"]: [w for w in key["labels"] if w != "vip"] for key in listed} == {
        one: [label, "b", "silver"],
        two: [label, "b", "late"],
        three: [label],
    }
    assert batch["labels"] == [f"made {one}"]
    assert [row["issued"] for row in counted if row["label"] == label] == [3]
    assert table.splitlines()[0].endswith(",access_expires_at,labels")
    assert f'"{label}, b, silver' in table


@pytest.mark.parametrize("to", ["keys", "distributions"])
def test_labels_that_are_none_are_422_in_one_field(post, to):
    told = post(lines("email", "ann@example.org"), query=f"?label={'x' * 51}", to=to)

    assert (told.status_code, told.json["field"]) == (422, "labels")
