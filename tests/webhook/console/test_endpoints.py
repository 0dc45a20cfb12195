"""Endpoints: registered, rotated, removed, and what they were told, with forms alone."""

import re
import secrets
from html import unescape

import pytest
from sqlalchemy import text

from tests.receiving import receiving
from tests.world import OPERATOR
from worker.database import connections as databases
from worker.outgoing import deliveries
from worker.settings import settings

TYPES = {"redemption.decided": "on", "pool.low": "on", "pool_low": "10", "pool_expiring_days": "7"}


@pytest.fixture
def manager(somebody):
    return somebody()


@pytest.fixture
def url():
    return f"https://hooks.example/{secrets.token_hex(4)}"


@pytest.fixture
def endpoint(manager, things, url):
    """An endpoint made with the form; its page's address and its secret."""
    made = manager.post("/endpoints", organization=things.ids["organization"], url=url, **TYPES)
    [secret] = re.findall(r'class="secret">(whsec_[\w+/=]+)<', made.text)
    [where] = re.findall(r'/console(/endpoints/\d+)">I kept it', made.text)
    return where, secret


@pytest.fixture
def told(endpoint):
    """What the endpoint was told, by state: a failed delivery and a delivered one."""
    with databases.session() as session:
        rows = session.execute(
            text("""
                INSERT INTO delivery (endpoint_id, type, data, state, attempts, ended_at, error)
                VALUES (:id, 'pool.low', '{"name": "<b>Low</b>"}', 'failed', 9, clock_now(), 'It is <down>.'),
                       (:id, 'pool.low', '{}', 'delivered', 1, clock_now(), NULL)
                RETURNING state::text, id::text"""),
            {"id": int(endpoint[0].rpartition("/")[2])},
        ).all()
    return {row.state: row.id for row in rows}


def state(delivery):
    with databases.session() as session:
        return str(deliveries.show(session, actor=OPERATOR, delivery=delivery)["state"])


def ticked(page):
    return re.findall(r'name="(\w+\.\w+)" value="on" checked', page)


def test_an_endpoints_secret_is_shown_once(manager, endpoint, url):
    where, secret = endpoint

    page = manager.get(where).text

    assert url in page
    assert secret not in page
    assert url in manager.get("/endpoints").text
    assert ticked(page) == ["redemption.decided", "pool.low"]


def test_an_endpoint_is_changed_given_a_new_secret_and_removed(manager, endpoint, url):
    where, secret = endpoint

    changed = manager.post(where, url=f"{url}/new", **TYPES | {"invoice.finalized": "on"})
    rotated = manager.post(f"{where}/rotate", page=where).text
    page = manager.get(where).text
    removed = manager.post(f"{where}/remove", page=where)

    assert changed.status_code == removed.status_code == 303
    assert f'value="{url}/new"' in page
    assert 'name="invoice.finalized" value="on" checked' in page
    assert "whsec_" in rotated
    assert secret not in rotated
    assert manager.get(where).status_code == 404
    assert url not in re.sub(r"<p class=.told.*?</p>", "", manager.get("/endpoints").text)


def test_an_endpoint_is_paused_pinged_and_resumed(manager, endpoint, monkeypatch):
    where, _ = endpoint
    monkeypatch.setenv("KEYPOOL_PRIVATE_ENDPOINTS", "true")
    settings.cache_clear()
    with receiving(204, 500) as receiver:
        manager.post(where, url=receiver.url, **TYPES)
        manager.post(f"{where}/pause", page=where)
        paused = manager.get(where).text
        manager.post(f"{where}/ping", page=where)
        accepted = manager.get(where).text
        manager.post(f"{where}/ping", page=where, type="pool.low")
        refused = manager.get(where).text
    settings.cache_clear()
    manager.post(f"{where}/resume", page=where)

    assert "Paused since" in paused
    assert re.search(r'class="told done" role="status">It answered 204 after \d', accepted)
    assert re.search(
        r'class="told refused" role="status">The ping failed .*: answered 500\.', refused
    )
    assert b'"type":"pool.low"' in receiver.received[1].body
    assert "Paused since" not in manager.get(where).text


def test_a_delivery_shows_its_attempts_with_their_answers(manager, told):
    with databases.session() as session:
        session.execute(text("""
            UPDATE delivery SET answers = '[{"at": "2026-03-01T10:00:00Z", "status": 502, "seconds": 0.25,
                                             "error": "answered 502"}]' WHERE id = :id"""),
            {"id": int(told["failed"])})  # fmt: skip

    page = manager.get(f"/deliveries/{told['failed']}").text

    assert re.search(r"<td>502</td><td class=\"number\">0.25 s</td><td>answered 502</td>", page)


def test_what_was_told_is_listed_with_why_it_failed_and_shown_with_its_body(
    manager, endpoint, told
):
    where, _ = endpoint

    page, failed = manager.get(where).text, manager.get(f"{where}?failed=on").text
    body = unescape(manager.get(f"/deliveries/{told['failed']}").text)

    assert [f'/deliveries/{one}"' in page for one in told.values()] == [True, True]
    assert f'/deliveries/{told["delivered"]}"' not in failed
    assert "It is &lt;down&gt;." in failed
    assert '"name": "<b>Low</b>"' in body
    assert "<b>Low</b>" not in manager.get(f"/deliveries/{told['failed']}").text


def test_one_delivery_or_those_that_failed_are_sent_once_more(manager, endpoint, told):
    where, _ = endpoint

    manager.post(f"{where}/resend", page=where, delivery=told["delivered"])
    one = [state(told["delivered"]), state(told["failed"])]
    manager.post(f"{where}/resend", page=where, failed="on", since="2020-01-01")

    assert one == ["waiting", "failed"]
    assert state(told["failed"]) == "waiting"


def test_sending_once_more_without_saying_what_is_refused_beside_the_day(manager, endpoint):
    where, _ = endpoint

    refused = manager.post(f"{where}/resend", page=where, since="")

    assert refused.status_code == 422
    assert re.search(r'resend-since-note" class="wrong">Say which', refused.text)


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"url": "not an address"}, "url"), ({"pool_low": "few"}, "pool_low")],
)
def test_a_refused_endpoint_is_shown_as_it_was_typed(manager, things, changed, field):
    given = {"organization": things.ids["organization"], "url": "https://a.example/", **TYPES}

    refused = manager.post("/endpoints", **given | changed)

    assert refused.status_code == 422
    assert f'id="endpoints-{field}-note" class="wrong"' in refused.text
    assert ticked(refused.text) == ["redemption.decided", "pool.low"]
