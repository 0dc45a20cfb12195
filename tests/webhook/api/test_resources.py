"""The API by its resources: what goes in comes out, and a page follows a page."""

import io
import zipfile
from base64 import b64encode

import pytest
from PIL import Image
from sqlalchemy import text

from tests.webhook.conftest import Place, redemption, settle
from tests.world import build
from worker.database import connections as databases
from worker.pools import batches, exporting
from worker.reporting import keeping
from worker.settings import settings
from worker.tenancy.actors import Role

EVENTS = "/api/v1/events"


@pytest.fixture(scope="module")
def manager(place: Place) -> dict[str, str]:
    return place.token(Role.MANAGER)


@pytest.fixture
def keys(place: Place) -> str:
    """The address of the keys of the world's pool."""
    return f"/api/v1/pools/{place.world.pool}/keys"


def work_batches() -> None:
    while databases.transaction(batches.work_chunk) is not None:
        pass


def fail(event: str) -> None:
    """Set an event apart, as the settler does with one that it died on."""
    with databases.session() as session:
        session.execute(
            text("UPDATE event SET status = 'failed', error = 'killed', deaths = 5 WHERE id = :id"),
            {"id": int(event)},
        )


def test_events_are_found_by_their_webhook_id(place, sender, manager):
    sender.post(redemption("FIRST-KEY"), webhook_id="one")
    sender.post(redemption("OTHER-KEY"), webhook_id="two")

    found = place.client.get(f"{EVENTS}?webhook_id=two", headers=manager).json

    assert [event["webhook_id"] for event in found["items"]] == ["two"]
    assert found["items"][0]["source"] == str(sender.source)


def test_events_since_a_time_are_those_received_at_it_or_later(place, sender, manager):
    before = sender.post(redemption("EARLY-KEY")).json["event"]
    later = sender.post(redemption("LATER-KEY")).json["event"]
    since = place.client.get(f"{EVENTS}/{later}", headers=manager).json["received_at"]

    found = place.client.get(f"{EVENTS}?since={since}", headers=manager).json["items"]

    assert later in {event["id"] for event in found}
    assert before not in {event["id"] for event in found}


def test_pages_follow_one_another_and_rows_added_meanwhile_move_nothing(place, sender, manager):
    old = [sender.post(redemption(f"PAGE-KEY-{n}")).json["event"] for n in range(5)]

    seen, cursor = [], ""
    while cursor is not None and len(seen) < 5:
        page = place.client.get(f"{EVENTS}?limit=2{cursor}", headers=manager).json
        seen += [event["id"] for event in page["items"]]
        sender.post(redemption("MEANWHILE-KEY"))
        cursor = page["next"] and f"&cursor={page['next']}"

    assert seen[:5] == old[::-1]


@pytest.mark.parametrize("cursor", ["zz", "%F0%9F%92%A5", "YWZ0ZXIgeA", "A" * 201])
def test_a_cursor_altered_by_hand_is_answered_422(place, manager, cursor):
    answer = place.client.get(f"{EVENTS}?cursor={cursor}", headers=manager)

    assert (answer.status_code, answer.json["field"]) == (422, "cursor")


def test_a_failed_event_is_listed_with_its_error_and_can_be_retried(place, sender, manager):
    event = sender.post(redemption("RETRY-KEY"), webhook_id="failed").json["event"]
    fail(event)

    listed = place.client.get(f"{EVENTS}?failed=true", headers=manager).json["items"]
    again = sender.post(redemption("RETRY-KEY"), webhook_id="failed")
    retried = place.client.post(f"{EVENTS}/{event}/retry", headers=manager)
    settle()
    after = place.client.get(f"{EVENTS}/{event}", headers=manager).json

    assert [(e["id"], e["status"], e["error"]) for e in listed] == [(event, "failed", "killed")]
    assert (again.status_code, again.json["status"]) == (202, "failed")
    assert (retried.status_code, retried.json["status"]) == (200, "recorded")
    assert (after["status"], after["outcome"]) == ("settled", "unknown_key")


def test_an_event_that_did_not_fail_is_not_retried(place, sender, manager):
    event = sender.post(redemption()).json["event"]

    answer = place.client.post(f"{EVENTS}/{event}/retry", headers=manager)

    assert (answer.status_code, answer.json["type"]) == (409, "/problems/not_failed")


def test_a_pools_owner_sees_a_strangers_attempt_with_the_learner_masked(place, manager):
    stranger, [key] = place.sender(place.world.sibling), place.keys()
    stranger.post(redemption(key, "secret.name@stranger.example"))
    settle()

    path = f"/api/v1/redemptions?pool={place.world.pool}&outcome=not_available_to_organization"
    [attempt] = place.client.get(path, headers=manager).json["items"]

    assert (attempt["key"], attempt["learner"], attempt["organization"]) == (key, "s***@s***", None)


def test_a_pool_is_created_shown_edited_paused_and_resumed(place, manager, things):
    body = {
        "name": "Over HTTP",
        "organization": things.ids["organization"],
        "course": things.ids["course"],
        "starts_at": "2026-01-01",
        "expires_at": "2026-12-31",
        "content_availability_days": 90,
    }
    pools = "/api/v1/pools"

    made = place.client.post(pools, json=body, headers=manager)
    path = f"{pools}/{made.json['id']}"
    edited = place.client.patch(path, json={"expires_at": "2027-01-31"}, headers=manager)
    paused = place.client.post(f"{path}/pause", headers=manager)
    resumed = place.client.post(f"{path}/resume", headers=manager)
    shown = place.client.get(path, headers=manager)

    assert made.status_code == 201
    assert edited.json["expires_at"] == "2027-02-01T00:00:00Z"
    assert paused.json["state"] == "paused"
    assert resumed.json == shown.json


def test_a_backward_window_is_answered_422_and_a_taken_name_409(place, manager, things):
    body = {
        "name": "Taken",
        "organization": things.ids["organization"],
        "course": things.ids["course"],
        "starts_at": "2026-01-01",
        "expires_at": "2026-12-31",
        "content_availability_days": 90,
    }
    backward = body | {"expires_at": "2025-01-01", "name": "Backward"}

    first = place.client.post("/api/v1/pools", json=body, headers=manager)
    second = place.client.post("/api/v1/pools", json=body, headers=manager)
    third = place.client.post("/api/v1/pools", json=backward, headers=manager)

    assert [a.status_code for a in (first, second, third)] == [201, 409, 422]
    assert second.json["type"] == "/problems/already_exists"


def test_keys_are_added_as_a_list_and_each_refused_line_is_told(place, manager, keys):
    answer = place.client.post(keys, json=["API-LIST-1", "api list 1", "no"], headers=manager)

    assert answer.status_code == 201
    assert (answer.json["added"], answer.json["duplicate_in_input"]) == (1, 1)
    assert [line["line"] for line in answer.json["refused"]] == [2, 3]


@pytest.mark.parametrize(
    ("mimetype", "body"),
    [
        ("text/plain", "API-TEXT-1\n\nAPI-TEXT-2\n"),
        ("text/plain; charset=utf-8", "API-TEXT-3\r\nAPI-TEXT-4"),
        ("text/csv", "code,email\nAPI-TABLE-1,ann@example.com\nAPI-TABLE-2,\n"),
    ],
)
def test_keys_are_imported_from_a_text_or_a_table(place, manager, keys, mimetype, body):
    answer = place.client.post(keys, data=body, headers=manager | {"Content-Type": mimetype})

    assert (answer.status_code, answer.json["added"]) == (201, 2)


@pytest.mark.parametrize("column", ["Voucher", "2"])
def test_keys_are_imported_from_the_column_that_is_named(place, manager, keys, column):
    body = f"Shop,Voucher\nBerlin,API-COLUMN-{column}-1\nParis,API-COLUMN-{column}-2\n"

    answer = place.client.post(
        f"{keys}?column={column}", data=body, headers=manager | {"Content-Type": "text/csv"}
    )
    unknown = place.client.post(
        f"{keys}?column=Nowhere", data=body, headers=manager | {"Content-Type": "text/csv"}
    )

    assert (answer.status_code, answer.json["added"]) == (201, 2)
    assert (unknown.status_code, unknown.json["field"]) == (422, "column")


def test_many_keys_are_a_batch_that_can_be_followed(place, manager, keys):
    lines = io.BytesIO(b"\n".join(b"API-BULK-%d" % n for n in range(600)))

    answer = place.client.post(keys, data=lines, headers=manager | {"Content-Type": "text/plain"})
    queued = place.client.get(answer.headers["Location"], headers=manager).json
    work_batches()
    done = place.client.get(answer.headers["Location"], headers=manager).json
    report = place.client.get(answer.headers["Location"] + "/report", headers=manager).json

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/batches/{answer.json['batch']}"
    assert (queued["state"], done["state"], done["made"]) == ("queued", "done", 600)
    assert report["added"] == 600


def test_keys_are_generated_by_a_batch(place, manager, keys):
    answer = place.client.post(keys, json={"generate": 7}, headers=manager)
    work_batches()

    done = place.client.get(answer.headers["Location"], headers=manager).json

    assert (answer.status_code, done["made"], done["state"]) == (202, 7, "done")


@pytest.mark.parametrize(
    "body", [[], {}, {"generate": 0}, {"generate": "ten"}, {"make": 1}, [1], 7, "KEY"]
)
def test_what_are_no_keys_is_answered_422(place, manager, keys, body):
    answer = place.client.post(keys, json=body, headers=manager)

    assert answer.status_code == 422


def test_the_export_is_streamed_with_every_key_of_the_pool(place, manager, keys):
    shown = place.client.get(f"/api/v1/pools/{place.world.pool}", headers=manager).json["keys"]

    answer = place.client.get(keys, headers=manager | {"Accept": "text/csv"})

    header, *lines = answer.text.splitlines()
    assert "Content-Length" not in answer.headers  # streamed
    assert answer.mimetype == "text/csv"
    assert header.startswith("code,state,recipient,reference,distributed_at,redeemed_by_email")
    assert len(lines) == shown["issued"] + shown["redeemed"] + shown["retired"]


@pytest.mark.parametrize(
    ("asked", "media_type", "suffix"),
    [
        ({"query_string": "format=excel"}, "text/csv", "csv"),
        ({"query_string": "format=xlsx"}, exporting.WORKBOOK, "xlsx"),
        ({"headers": {"Accept": exporting.WORKBOOK}}, exporting.WORKBOOK, "xlsx"),
    ],
)
def test_keys_are_exported_as_people_open_them(place, manager, asked, media_type, suffix):
    place.keys()
    path = f"/api/v1/pools/{place.world.pool}/keys"
    name = place.client.get(f"/api/v1/pools/{place.world.pool}", headers=manager).json["name"]

    answer = place.client.get(path, **{**asked, "headers": manager | asked.get("headers", {})})

    assert (answer.status_code, answer.mimetype) == (200, media_type)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}.{suffix}"'
    assert answer.data[:2] == (b"PK" if suffix == "xlsx" else b"\xef\xbb")


def test_a_key_tells_its_attempts_and_what_would_happen_now(place, manager):
    [key] = place.keys()

    shown = place.client.get(f"/api/v1/keys/{key.lower()}?as=zoe@example.com", headers=manager)

    assert (shown.json["code"], shown.json["attempts"]) == (key, [])
    assert shown.json["dry_run"]["outcome"] == "redeemed"


def test_an_unknown_key_is_answered_404_without_repeating_it(place, manager):
    answer = place.client.get("/api/v1/keys/NOBODYS-OWN-KEY", headers=manager)

    assert answer.status_code == 404
    assert "NOBODYS-OWN-KEY" not in answer.text


def test_a_replaced_key_and_its_replacement_know_each_other(place, manager):
    place.keys(2)
    path = f"/api/v1/pools/{place.world.pool}/distributions"
    given = place.client.post(path, json={"recipient": "zoe@example.com"}, headers=manager).json
    [old] = given["keys"]

    answer = place.client.post(
        f"/api/v1/keys/{old}/replace", json={"reason": "Torn"}, headers=manager
    )

    shown = place.client.get(f"/api/v1/keys/{old}", headers=manager).json
    assert (answer.status_code, answer.json["replaces"]) == (200, old)
    assert (answer.json["recipient"], answer.json["state"]) == ("zoe@example.com", "issued")
    assert (shown["replaced_by"], shown["replaced_because"]) == (answer.json["code"], "Torn")


def test_a_key_is_not_replaced_without_a_reason(place, manager):
    [key] = place.keys()

    answer = place.client.post(f"/api/v1/keys/{key}/replace", json={}, headers=manager)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "reason"


def test_distributing_again_gives_the_same_keys_and_a_recall_retires_them(place, manager):
    place.keys(2)
    path = f"/api/v1/pools/{place.world.pool}/distributions"
    body = {"recipient": "shop@example.com", "count": 2, "reference": "order 7"}

    first = place.client.post(path, json=body, headers=manager)
    second = place.client.post(path, json=body, headers=manager)
    again = {name: body[name] for name in ("recipient", "reference")}
    recalled = place.client.post(
        f"{path}/recall",
        json=again,
        headers=manager,
    )

    assert first.status_code == 201
    assert first.json["keys"] == second.json["keys"]
    assert recalled.json["recalled"] == 2


def test_a_source_made_over_http_can_post_at_once(place, manager, things):
    made = place.client.post(
        "/api/v1/sources",
        json={"name": "by http", "organization": things.ids["organization"]},
        headers=manager,
    )
    rotated = place.client.post(
        f"/api/v1/sources/{made.json['id']}/rotate", json={"old_valid": "1h"}, headers=manager
    )
    listed = place.client.get("/api/v1/sources", headers=manager)

    assert (made.status_code, rotated.status_code) == (201, 200)
    assert made.json["url"] == f"/webhooks/{made.json['id']}"
    assert made.json["secret"].startswith("whsec_")
    assert rotated.json["secret"] != made.json["secret"]
    assert "whsec_" not in listed.text


def test_an_invoice_is_given_as_json_table_and_pdf(place, things):
    finance = place.token(Role.FINANCE)
    path = f"/api/v1/invoices/{things.ids['invoice']}"

    answers = {end: place.client.get(path + end, headers=finance) for end in ("", ".csv", ".pdf")}
    detail = place.client.get(f"{path}.csv?detail=true", headers=finance)

    assert {a.status_code for a in answers.values()} == {200}
    assert answers[""].json["total"] == "49.90"
    assert answers[".csv"].text.startswith("invoice,month,")
    assert answers[".pdf"].data.startswith(b"%PDF-")
    assert "thing@example.com" in detail.text


def test_an_assignment_is_extended_and_tells_of_access(place, manager, things):
    path = f"/api/v1/assignments/{things.ids['assignment']}"
    before = place.client.get(path, headers=manager).json

    extended = place.client.post(f"{path}/extend", json={"days": 5}, headers=manager).json
    access = place.client.get(f"{path}/access", headers=manager).json

    assert extended["expires_at"] > before["expires_at"]
    assert (access["allowed"], access["until"]) == (True, extended["expires_at"])


def test_a_launch_over_the_api_is_recorded_once_and_ended_once(place, things):
    sender = place.token(Role.SENDER)
    path = f"/api/v1/assignments/{things.ids['assignment']}/launches"
    begun = {"launch": "L-7", "launched_at": "2026-03-01T09:00:00Z"}
    ended = {"ended_at": "2026-03-01T09:30:00Z", "completed": True, "score": 87.5}

    first = place.client.post(path, json=begun, headers=sender)
    again = place.client.post(path, json=begun, headers=sender)
    end = f"/api/v1/launches/{first.json['id']}/end"
    early = place.client.post(end, json={"ended_at": "2026-03-01T08:59:59Z"}, headers=sender)
    over = place.client.post(end, json=ended, headers=sender)
    later = place.client.post(end, json={"ended_at": "2026-03-01T10:00:00Z"}, headers=sender)

    assert (first.status_code, first.json["outcome"], first.json["seconds"]) == (
        201,
        "launched",
        None,
    )
    assert again.json == first.json
    assert (early.status_code, early.json["type"]) == (409, "/problems/ended_before_launched")
    assert (over.json["seconds"], over.json["completed"], over.json["score"]) == (1800, True, 87.5)
    assert later.json == over.json
    shown = place.client.get(path.removesuffix("/launches"), headers=place.token(Role.MANAGER)).json
    assert (shown["launches"], shown["completed"]) == (1, True)
    assert shown["launched"][0] == over.json


def test_many_assignments_are_extended_and_cancelled_each_with_its_result(place, manager, things):
    path, held = "/api/v1/assignments", things.ids["assignment"]
    chosen = {"assignments": [held, "999999999"]}

    extended = place.client.post(f"{path}/extend", json=chosen | {"days": 5}, headers=manager)
    late = chosen | {"reason": "a test"}
    cancelled = place.client.post(f"{path}/cancel", json=late, headers=manager)
    unchosen = place.client.post(f"{path}/cancel", json={}, headers=manager)

    for answer, done in ((extended, "extended"), (cancelled, "cancelled")):
        assert answer.status_code == 200
        told = {item["assignment"]: (item["result"], item["code"]) for item in answer.json["items"]}
        assert told == {held: (done, None), "999999999": ("refused", "not_found")}
    assert unchosen.status_code == 422


def test_names_are_kept_as_they_are_written(place):
    operator = place.token(Role.OPERATOR)
    name = "Ünïted \u200f👩🏽‍💻 “Academy” <b>"

    made = place.client.post("/api/v1/organizations", json={"name": name}, headers=operator)

    assert (made.status_code, made.json["name"]) == (201, name)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/pools/%00", 400),
        ("/api/v1/learners/a%00@example.com", 400),
        ("/api/v1/events?webhook_id=%00", 400),
        ("/api/v1/pools/%FF%FE", 404),
        ("/api/v1/pools/" + "9" * 30, 404),
        ("/api/v1/nothing", 404),
        ("/api/v1/events?since=0000-01-01T00:00:00Z", 422),
        ("/api/v1/events?since=10000-01-01T00:00:00Z", 422),
        ("/api/v1/events?limit=1001", 422),
        ("/api/v1/events?limt=1", 422),
    ],
)
def test_odd_addresses_are_answered_with_a_problem(place, manager, path, status):
    answer = place.client.get(path, headers=manager)

    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")


def test_metrics_tell_what_waits_what_failed_and_what_came_out(place, sender):
    sender.post(redemption("UNKNOWN-METRIC-KEY"))
    settle()
    sender.post(redemption("METRIC-KEY"))

    told = place.client.get("/metrics").text

    assert "keypool_events_waiting 1.0" in told
    assert "keypool_events_failed 0.0" in told
    assert "keypool_deliveries_failed 0.0" in told
    assert "keypool_invoices_held_up 0.0" in told
    assert 'keypool_redemptions_recent{outcome="unknown_key"}' in told


@pytest.mark.parametrize(
    ("token", "public", "sent", "status"),
    [
        (None, "https://keys.example", None, 401),
        (None, "https://keys.example", "Bearer ", 401),
        (None, "http://127.0.0.1:8080", None, 200),
        ("metrics of one system", None, None, 401),
        ("metrics of one system", None, "Bearer metrics of another one", 401),
        ("metrics of one system", None, "Basic metrics of one system", 401),
        ("metrics of one system", "https://keys.example", "Bearer metrics of one system", 200),
    ],
)
def test_metrics_of_a_public_system_are_for_who_has_their_token(
    place, monkeypatch, token, public, sent, status
):
    for name, value in {"METRICS_TOKEN": token, "PUBLIC_URL": public}.items():
        if value:
            monkeypatch.setenv(f"KEYPOOL_{name}", value)
    settings.cache_clear()

    answered = place.client.get("/metrics", headers={"Authorization": sent} if sent else {})
    settings.cache_clear()

    assert answered.status_code == status
    assert ("keypool_events_waiting" in answered.text) == (status == 200)


def test_the_billing_run_and_what_follows_it_go_over_http(place, sender):
    operator, [key] = place.token(Role.OPERATOR), place.keys()
    sender.post(redemption(key, "billed@example.com"))
    settle()
    with databases.session() as session:
        month = session.execute(text("SELECT to_char(clock_now(), 'YYYY-MM')")).scalar_one()

    done = place.client.post("/api/v1/invoices/run", json={"month": month}, headers=operator).json
    again = place.client.post("/api/v1/invoices/run", json={"month": month}, headers=operator).json
    path = f"/api/v1/invoices/{done['drafted'][0]}"
    asked = place.client.post(f"{path}/finalize", headers=operator)
    finalized = place.client.post(f"{path}/finalize", json={"anyway": True}, headers=operator).json
    paid = place.client.post(f"{path}/pay", json={"on": finalized["issued_on"]}, headers=operator)
    void = place.client.post(f"{path}/void", json={"reason": "test"}, headers=operator)
    lines = place.client.get(f"/api/v1/charges?invoice={path[-1]}", headers=operator).json["items"]
    at_once = {"charges": [lines[0]["id"]], "amount": "1.00", "reason": "test", "anyway": True}
    note = place.client.post("/api/v1/invoices/credit", json=at_once, headers=operator)
    credit = place.client.post(
        f"/api/v1/charges/{lines[0]['id']}/credit", json={"reason": "test"}, headers=operator
    )
    owed = f"/api/v1/organizations/{finalized['organization']}/statement"
    statement = place.client.get(owed, headers=operator).json
    table = place.client.get(f"{owed}.csv", headers=operator).text

    assert (len(done["drafted"]), again["charges"]) == (1, 0)
    assert (asked.status_code, asked.json["type"]) == (409, "/problems/not_confirmed")
    assert f"{month} is not over yet" in asked.json["detail"]
    assert finalized["status"] == "finalized"
    assert finalized["number"]
    assert (paid.status_code, paid.json["status"]) == (200, "paid")
    assert void.status_code == 409
    assert (note.status_code, note.json["kind"], note.json["subtotal"]) == (
        201,
        "credit_note",
        "-1.00",
    )
    assert note.json["number"] in {item["number"] for item in statement["items"]}
    assert f",{note.json['number']},credit_note," in table
    assert (credit.status_code, credit.json["kind"]) == (201, "credit")


def test_a_run_over_http_says_what_the_seller_lacks_and_so_do_the_metrics(place):
    operator = place.token(Role.OPERATOR)
    with databases.session() as session:
        build(session).request_of_last_month("held@example.com")
    settle()
    place.client.patch("/api/v1/seller", json={"tax_id": None}, headers=operator)

    body = {"finalize": True}
    left = place.client.post("/api/v1/invoices/run", json=body, headers=operator).json
    figure = place.client.get("/metrics").text
    body["anyway"] = True
    done = place.client.post("/api/v1/invoices/run", json=body, headers=operator).json
    place.client.patch("/api/v1/seller", json={"tax_id": "DE136695976"}, headers=operator)

    assert (left["finalized"], left["lacks"]) == ([], ["tax id"])
    assert f"keypool_invoices_held_up {len(left['left'])}.0" in figure
    assert done["finalized"] == left["left"]


def test_a_period_is_handed_over_over_http(place):
    operator = place.token(Role.OPERATOR)
    days = "from=2020-01-01&to=2020-01-31"

    archive = place.client.get(f"/api/v1/invoices/export?{days}", headers=operator)
    body = {"from": "2020-01-01", "to": "2020-01-31"}
    journal = place.client.post("/api/v1/invoices/journal", json=body, headers=operator)
    again = place.client.post("/api/v1/invoices/journal", json=body, headers=operator)
    over = place.client.post(
        "/api/v1/invoices/journal", json=body | {"to": "2090-01-01"}, headers=operator
    )
    wrong = place.client.get("/api/v1/invoices/export?from=2020-02-01&to=soon", headers=operator)

    assert zipfile.ZipFile(io.BytesIO(archive.data)).namelist() == ["invoices.csv"]
    assert (journal.status_code, journal.mimetype) == (200, "text/csv")
    assert journal.headers["Content-Disposition"] == again.headers["Content-Disposition"]
    assert (over.status_code, over.json["field"]) == (422, "to")
    assert (wrong.status_code, wrong.json["field"]) == (422, "to")


def test_the_journals_accounts_are_changed_over_http(place):
    operator = place.token(Role.OPERATOR)

    def patch(accounts):
        return place.client.patch("/api/v1/seller", json={"accounts": accounts}, headers=operator)

    kept = patch({"revenue": "8400", "tax:19": "1776"}).json["accounts"]
    refused = patch({"sales": "8400"})
    left = patch({"tax:19": ""}).json["accounts"]

    assert kept == {"revenue": "8400", "tax:19": "1776"}
    assert (refused.status_code, refused.json["field"]) == (422, "accounts")
    assert left == {"revenue": "8400"}


def test_a_draft_cannot_be_exported_as_an_e_invoice_and_each_missing_field_is_named(place):
    operator = place.token(Role.OPERATOR)
    with databases.session() as session:
        build(session).request_of_last_month("lacking@example.com")
    settle()
    draft = place.client.post("/api/v1/invoices/run", json={}, headers=operator).json["drafted"][-1]

    shown = place.client.get(f"/api/v1/invoices/{draft}", headers=operator).json
    refused = place.client.get(f"/api/v1/invoices/{draft}.xrechnung", headers=operator)

    assert "buyer.country" in shown["missing"]
    assert (refused.status_code, refused.json["type"]) == (409, "/problems/no_e_invoice")
    assert all(field in refused.json["detail"] for field in shown["missing"])


@pytest.mark.parametrize("path", ["run", "{draft}/finalize"])
def test_an_invoice_that_is_finalized_over_http_has_its_months_reports_made(place, path):
    operator = place.token(Role.OPERATOR)
    with databases.session() as session:
        world = build(session)
        world.request_of_last_month("reported@example.com")
    settle()
    drafts = place.client.post("/api/v1/invoices/run", json={}, headers=operator).json["drafted"]
    where = f"/api/v1/invoices/{path.format(draft=drafts[-1])}"

    place.client.post(where, json={"finalize": True} if path == "run" else None, headers=operator)

    shown = place.client.get(f"/api/v1/invoices/{drafts[-1]}", headers=operator).json
    about = f"/api/v1/reports?organization={world.parent}"
    kept = place.client.get(about, headers=operator).json["items"]
    assert shown["status"] == "finalized"
    assert {one["invoice"] for one in kept} == {shown["number"]}
    assert sorted(one["notebook"] for one in kept) == sorted(keeping.MONTHLY)


def test_the_seller_is_the_operators_to_change(place):
    operator = place.token(Role.OPERATOR)
    place.client.patch("/api/v1/seller", json={"name": "We Sell Ltd"}, headers=operator)

    shown = place.client.get("/api/v1/seller", headers=operator)

    assert shown.json["name"] == "We Sell Ltd"


def test_the_sellers_accounts_are_changed_a_currency_at_a_time(place):
    operator = place.token(Role.OPERATOR)

    def patch(**body):
        return place.client.patch("/api/v1/seller", json=body, headers=operator)

    account = {"currency": "EUR", "iban": "DE89370400440532013000", "bic": "COBADEFFXXX"}
    kept = patch(banks=[account], country="de")
    refused = patch(banks=[account | {"iban": "DE89"}])
    removed = patch(banks=[{"currency": "EUR", "iban": None}])

    assert (kept.json["banks"], kept.json["country"]) == ([account], "DE")
    assert (refused.status_code, refused.json["field"]) == (422, "bank")
    assert removed.json["banks"] == []


def test_a_person_is_corrected_exported_and_erased(place, sender):
    operator, [key] = place.token(Role.OPERATOR), place.keys()
    sender.post(redemption(key, "wrong@example.com"))
    settle()
    path = "/api/v1/learners/"

    right = place.client.patch(
        f"{path}wrong@example.com", json={"email": "right@example.com"}, headers=operator
    )
    export = place.client.get(f"{path}right@example.com/export", headers=operator)
    erased = place.client.post(f"{path}right@example.com/erase", headers=operator)
    gone = place.client.get(f"{path}right@example.com", headers=operator)

    assert (right.status_code, right.json["email"]) == (200, "right@example.com")
    assert len(export.json["assignments"]) == 1
    assert erased.json["pseudonym"].startswith("erased-")
    assert gone.status_code == 404


def test_an_endpoint_is_registered_told_edited_and_removed(place, sender, manager):
    organization = str(place.world.parent)
    body = {"url": "https://hooks.example/api", "organization": organization}

    made = place.client.post("/api/v1/endpoints", json=body, headers=manager)
    path = f"/api/v1/endpoints/{made.json['id']}"
    event = sender.post(redemption("TOLD-KEY-1"), webhook_id="told").json["event"]
    settle()
    told = place.client.get(f"/api/v1/deliveries?endpoint={made.json['id']}", headers=manager).json
    [delivery] = told["items"]
    shown = place.client.get(f"/api/v1/deliveries/{delivery['id']}", headers=manager).json
    since = {"since": "2020-01-01T00:00:00Z"}
    resent = place.client.post(f"{path}/resend", json=since, headers=manager)
    rotated = place.client.post(f"{path}/rotate", json={"old_valid": "1h"}, headers=manager)
    edited = place.client.patch(path, json={"types": ["pool.low"]}, headers=manager)
    removed = place.client.post(f"{path}/remove", headers=manager)
    listed = place.client.get("/api/v1/endpoints", headers=manager).json["items"]

    assert (made.status_code, made.json["secret"][:6]) == (201, "whsec_")
    assert (delivery["type"], delivery["state"]) == ("redemption.decided", "waiting")
    assert shown["body"]["data"]["event"] == event
    assert shown["body"]["data"]["webhook_id"] == "told"
    assert resent.json == {"resent": 1}
    assert rotated.json["secret"] != made.json["secret"]
    assert edited.json["types"] == ["pool.low"]
    assert removed.json["removed_at"]
    assert made.json["id"] not in {one["id"] for one in listed}


@pytest.mark.parametrize(
    ("url", "field"), [("http://127.0.0.1/", "url"), ("gopher://example.com/", "url")]
)
def test_an_endpoint_inside_is_refused(place, manager, url, field):
    organization = str(place.world.parent)

    answer = place.client.post(
        "/api/v1/endpoints", json={"url": url, "organization": organization}, headers=manager
    )

    assert (answer.status_code, answer.json["field"]) == (422, field)


def test_an_act_over_the_web_is_told_to_endpoints_above_its_organization(place, manager):
    """The web's login sees the child's rows alone; the parent's outbox is written all the same."""
    parent = str(place.world.parent)
    endpoint = place.client.post(
        "/api/v1/endpoints",
        json={"url": "https://hooks.example/above", "organization": parent},
        headers=manager,
    ).json["id"]
    with databases.session() as session:
        session.execute(text("UPDATE pool SET share_with_children = true"))
    child = place.sender(place.world.child)
    [key] = place.keys()
    event = child.post(redemption(key, "kim@child.example")).json["event"]
    settle()
    own = place.token(Role.MANAGER, place.world.child)
    assignment = place.client.get(f"{EVENTS}/{event}", headers=own).json["assignment"]

    extended = place.client.post(
        f"/api/v1/assignments/{assignment}/extend", json={"days": 3}, headers=own
    )

    told = place.client.get(f"/api/v1/deliveries?endpoint={endpoint}", headers=manager).json[
        "items"
    ]
    assert extended.status_code == 200
    assert [item["type"] for item in told] == ["assignment.extended", "redemption.decided"]


def test_a_pool_tells_what_it_was_charged_this_month(place, sender, manager):
    [key] = place.keys()
    sender.post(redemption(key, "charged@example.com"))
    settle()

    told = place.client.get(f"/api/v1/pools/{place.world.pool}/charges", headers=manager)

    with databases.session() as session:
        month = session.execute(text("SELECT to_char(clock_now(), 'YYYY-MM')")).scalar_one()
    [euros] = told.json["currencies"]
    assert (told.json["month"], euros["currency"]) == (month, "EUR")
    assert euros["quantity"] >= euros["unbilled_quantity"] >= 1


def test_a_line_of_an_invoice_is_traced_to_its_charges(place, things):
    finance = place.token(Role.FINANCE)

    shown = place.client.get(f"/api/v1/invoices/{things.ids['invoice']}", headers=finance).json
    traced = [
        place.client.get(f"/api/v1/charges?line={line['id']}", headers=finance).json["items"]
        for line in shown["lines"]
    ]

    assert [len(items) for items in traced] == [line["quantity"] for line in shown["lines"]]
    assert {one["invoice"] for items in traced for one in items} == {things.ids["invoice"]}


def test_an_organizations_logo_is_given_in_base64_and_shown_as_a_picture(place, things):
    path = f"/api/v1/organizations/{things.ids['organization']}"
    picture = io.BytesIO()
    Image.new("RGB", (8, 4), "red").save(picture, "JPEG")
    given = {"logo": b64encode(picture.getvalue()).decode()}

    changed = place.client.patch(path, json=given, headers=place.token(Role.OPERATOR))
    shown = place.client.get(path, headers=place.token(Role.OPERATOR)).json["logo"]
    logo = place.client.get(shown, headers=place.token(Role.OPERATOR))

    assert changed.status_code == 200
    assert (logo.status_code, logo.mimetype) == (200, "image/png")
    assert Image.open(io.BytesIO(logo.data)).size == (8, 4)


@pytest.mark.parametrize("wrong", ["no base64!", "aGVsbG8=", 7, ["aGVsbG8="]])
def test_what_is_no_logo_is_refused_by_its_field(place, things, wrong):
    path = f"/api/v1/organizations/{things.ids['organization']}"

    refused = place.client.patch(path, json={"logo": wrong}, headers=place.token(Role.OPERATOR))

    assert (refused.status_code, refused.json["field"]) == (422, "logo")
