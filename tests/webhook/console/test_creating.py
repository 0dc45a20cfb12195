"""Create Training Key Pool, and what is done on a pool's page, with forms alone."""

import re
from html import unescape

import pytest
from sqlalchemy import text

from tests.webhook.conftest import redemption, settle
from tests.world import OPERATOR
from worker.database import connections as databases
from worker.pools import batches, keys, pools
from worker.tenancy.actors import Role


@pytest.fixture
def form(place):
    with databases.session() as session:
        shown = pools.show(session, actor=OPERATOR, pool=place.world.pool)
    return {
        "name": "Spring keys",
        "organization": shown["organization"],
        "course": shown["course"],
        "starts": "2026-01-01",
        "expires": "2026-12-31",
        "content_availability": "180",
    }


def listed(pool):
    with databases.session() as session:
        return keys.listing(session, actor=OPERATOR, pool=pool).items


def test_a_pool_is_created_with_typed_and_pasted_and_generated_keys(somebody, form):
    manager = somebody()
    codes = {"key": ["TYPED-KEY-01", ""], "pasted": "PASTED-KEY-01\nPASTED-KEY-02", "generate": "5"}

    made = manager.post("/pools/new", **form, **codes, share="on")
    page = manager.get(made.location.removeprefix("/console")).text

    assert {key["code"] for key in listed("Spring keys")} >= {"TYPED-KEY-01", "PASTED-KEY-02"}
    assert "keys work until the end of 31 Dec 2026, UTC" in page
    assert "Generate: 0 of 5" in page
    assert "everyone using" in page


def test_all_keys_of_a_new_pool_get_its_labels(somebody, form):
    codes = {"key": ["TYPED-KEY-03"], "pasted": "PASTED-KEY-03", "generate": "2"}

    made = somebody().post(
        "/pools/new", **form | {"name": "Labelled"}, **codes, labels="gold, Berlin"
    )

    assert made.status_code == 303
    with databases.session() as session:
        while batches.work_chunk(session) is not None:
            pass
    assert [key["labels"] for key in listed("Labelled")] == [["gold", "Berlin"]] * 4


def test_labels_that_are_no_few_words_stand_refused_beside_their_field(somebody, form):
    labels = ", ".join(f"label {n}" for n in range(11))
    typed = {"name": "Too many labels", "pasted": "PASTED-KEY-04", "labels": labels}

    page = somebody().post("/pools/new", **form | typed)

    assert page.status_code == 422
    assert 'id="f-labels-note" class="wrong">It has 11 labels; a key has up to 10.' in page.text
    assert f'value="{labels}"' in page.text


def test_an_error_stands_beside_its_field_and_nothing_typed_is_lost(somebody, form):
    typed = {"expires": "2025-12-31", "name": "Kept name", "pasted": "KEPT-KEY-0001"}

    page = somebody().post("/pools/new", **form | typed)

    assert page.status_code == 422
    assert 'id="f-expires-note" class="wrong">A pool must start before it expires' in page.text
    assert 'value="Kept name"' in page.text
    assert "KEPT-KEY-0001" in page.text


def test_lines_are_reported_before_anything_is_saved(somebody, form):
    lines = {"name": "Checked", "pasted": "GOOD-KEY-0001\nbad\ngood key 0001", "do": "check"}
    manager = somebody()

    checked = manager.post("/pools/new", **form | lines)
    saved = manager.post("/pools/new", **form | lines | {"do": "save"})
    anyway = manager.post("/pools/new", **form | lines | {"do": "save", "anyway": "on"})

    assert "1 repeated in the input, 1 invalid" in " ".join(checked.text.split())
    assert checked.status_code == saved.status_code == 422
    assert anyway.status_code == 303
    assert [key["code"] for key in listed("Checked")] == ["GOOD-KEY-0001"]


def test_pasted_lines_keep_their_numbers_beside_typed_keys(somebody, form):
    lines = {"name": "Numbered", "pasted": "\n\nGOOD-KEY-0009\nbad\nGOOD-KEY-0010", "do": "check"}

    page = somebody().post("/pools/new", **form | lines, key=["GOOD-KEY-0008", "worse"]).text

    by_label = re.findall(r'aria-label="(Refused \w+)".*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    found = {label: re.findall(r"<td>(\d+)</td><td><code>(\w+)", rows) for label, rows in by_label}
    assert found == {"Refused fields": [("2", "worse")], "Refused lines": [("4", "bad")]}
    assert re.search(
        r"<textarea[^>]*>\n\n\nGOOD", page
    )  # the first is the parser's, not the person's


def test_how_many_keys_will_be_generated_is_told(somebody, form):
    page = somebody().post("/pools/new", **form | {"name": ""}, generate="2500").text

    assert "2,500 will be generated." in page


def test_another_field_is_added_without_a_script(somebody, form):
    page = somebody().post("/pools/new", **form, key=["FIRST-KEY-01"], do="field")

    assert 'aria-label="Training key 2"' in page.text
    assert 'value="FIRST-KEY-01"' in page.text


def test_archived_courses_are_shown_and_cannot_be_chosen(somebody, place):
    with databases.session() as session:
        session.execute(
            text("INSERT INTO course (code, title, archived_at) VALUES ('OLD-1', 'Old', now())")
        )

    page = " ".join(somebody().get("/courses/choose?search=old").text.split())

    assert 'aria-disabled="true"><strong>OLD-1</strong> Old <em>archived</em>' in page


def test_a_pool_is_edited_paused_and_resumed(somebody, form, place):
    manager = somebody()
    where = manager.post("/pools/new", **form | {"name": "Edited"}).location.removeprefix(
        "/console"
    )

    manager.post(f"{where}/edit", **form | {"name": "Edited twice", "expires": "2027-06-30"})
    manager.post(f"{where}/pause", page=where)
    paused = manager.get(where).text
    manager.post(f"{where}/resume", page=where)

    assert "Edited twice" in paused
    assert "the end of 30 Jun 2027" in paused
    assert '<span class="state paused">' in paused
    assert '<span class="state paused">' not in manager.get(where).text


def test_a_window_that_is_no_whole_day_is_edited_as_instants_with_their_offset(somebody, form):
    manager = somebody()
    window = {"name": "To the hour", "expires": "2026-12-31T18:00:00+01:00"}
    where = manager.post("/pools/new", **form | window).location.removeprefix("/console")

    page = manager.get(f"{where}/edit").text
    kept = manager.post(
        f"{where}/edit", **form | {"name": "To the hour", "expires": typed_in(page)}
    )
    refused = manager.post(f"{where}/edit", **form | {"expires": "2026-12-31T18:00"})

    assert typed_in(page) == "2026-12-31T17:00:00+00:00"
    assert (kept.status_code, refused.status_code) == (303, 422)
    assert 'expires-note" class="wrong">“2026-12-31T18:00” is not a date' in refused.text
    assert "keys work until 31 Dec 2026, 17:00, UTC" in manager.get(where).text


def typed_in(page):
    return unescape(re.search(r'name="expires" type="text" value="([^"]+)"', page)[1])


def test_keys_are_distributed_retired_and_exported(somebody, form):
    manager = somebody()
    codes = {"name": "Handed out", "pasted": "HAND-KEY-0001\nHAND-KEY-0002"}
    where = manager.post("/pools/new", **form | codes).location.removeprefix("/console")

    manager.post(f"{where}/distribute", page=where, recipient="desk", count="1", reference="PO-1")
    again = manager.post(f"{where}/keys/retire", page=where, code="HAND-KEY-0002")
    refused = manager.post(f"{where}/keys/retire", page=where, code="HAND-KEY-0002")

    assert again.status_code == 303
    assert refused.status_code == 409
    assert "is retired already" in refused.text
    assert "HAND-KEY-0001,issued,desk,PO-1" in manager.get(f"{where}/keys.csv").text
    assert "HAND-KEY-0002" not in manager.get(f"{where}/keys.csv?state=issued").text


def test_my_key_does_not_work_is_answered(somebody, place):
    [code] = place.keys()
    reader = somebody()

    fits = reader.get(f"/trouble?q={code}&as=ann@example.com").text
    french = reader.client.get(
        f"/console/trouble?q={code}&as=ann@example.com", headers={"Accept-Language": "fr"}
    )
    unknown = reader.get("/trouble?q=NOT-A-KEY-1234").text

    assert code in fits
    assert "Nobody tried this key yet" in fits
    assert 'class="told done" role="status"><strong>ann@example.com</strong>' in fits
    assert '<span lang="fr" id="answer">La clé est utilisée.' in french.text
    assert "Accept-Language" in french.headers["Vary"]
    assert "There is no key" in unknown
    assert reader.get("/trouble?q=ann@example.com").location == "/console/learners/ann@example.com"


def test_a_pools_page_says_what_it_was_charged_and_what_of_that_is_unbilled(somebody, place):
    [code] = place.keys()
    place.sender().post(redemption(code, "charged@example.com"))
    settle()

    page = somebody().get(f"/pools/{place.world.pool}").text

    figures = dict(re.findall(r"<dt>([^<]+)</dt>\s*<dd>([^<]+)</dd>", page))
    charged = next(value for name, value in figures.items() if name.startswith("Charged in"))
    assert charged == figures["Of that unbilled"]
    assert charged.endswith("9.90 EUR")


def test_a_pools_page_says_what_is_unusual_about_it(somebody, place):
    with databases.session() as session:
        session.execute(
            text(
                "INSERT INTO pool_unusual (pool_id, rule, seen, among, usual)"
                " VALUES (:pool, 'strangers', 12, 20, 0.1)"
            ),
            {"pool": int(place.world.pool)},
        )

    page = somebody().get(f"/pools/{place.world.pool}").text

    assert "Strangers: of 20 keys" in page
    assert "12 (60\u00a0%)" in page


def test_a_pools_page_leads_to_what_was_done_to_it(somebody, place):
    manager, where = somebody(), f"/pools/{place.world.pool}"
    manager.post(f"{where}/pause", page=where)
    manager.post(f"{where}/resume", page=where)

    link = re.search(r'/console(/history[^"]+)">What was done', manager.get(where).text)[1]

    assert re.findall(r"<td>(pool \w+)</td>", manager.get(unescape(link)).text)[:2] == [
        "pool resumed", "pool paused",
    ]  # fmt: skip


def test_the_operator_sees_a_pools_times_in_its_owners_zone_and_each_says_which(place, somebody):
    with databases.session() as session:
        session.execute(
            text("UPDATE organization SET time_zone = 'Asia/Tokyo' WHERE id = :id"),
            {"id": place.world.parent},
        )
    try:
        page = somebody(Role.OPERATOR).get(f"/pools/{place.world.pool}").text
        listed = somebody(Role.OPERATOR).get("/redemptions").text
        managers = somebody().get("/users").text
        users = somebody(Role.OPERATOR).get("/users").text
    finally:
        with databases.session() as session:
            session.execute(
                text("UPDATE organization SET time_zone = 'UTC' WHERE id = :id"),
                {"id": place.world.parent},
            )

    assert re.search(r"<dt>Starts</dt><dd><time [^>]+ Asia/Tokyo\">[^<]+ <small>JST</small>", page)
    assert "<small>JST</small>" not in listed
    assert {"JST", "UTC"} <= set(
        re.findall(r"<small>(\w+)</small></time>", users)
    )  # each its owner's
    assert set(re.findall(r"<small>(\w+)</small></time>", managers)) == {"JST"}


def test_after_distributing_the_page_begins_with_what_was_done(place, somebody):
    manager, where = somebody(), f"/pools/{place.world.pool}"
    place.keys()

    given = manager.post(f"{where}/distribute", page=where, recipient="top@example.com")

    assert "#" not in given.location
    assert "top@example.com has 1 keys." in manager.client.get(given.location).text
