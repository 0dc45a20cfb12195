"""A source's page: its address, examples that work, a test, and its latest requests; an event's page."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest

from tests.conftest import Addresses
from tests.webhook.conftest import Place, redemption, settle
from tests.webhook.serving import Server, serving
from tests.world import OPERATOR
from webhook.console import sources as pages
from worker import requests, signatures
from worker.database import connections as databases
from worker.outgoing import deliveries, endpoints
from worker.settings import settings

COMMANDS = {
    "curl": ["bash", "-eu", "-o", "pipefail"],
    "python": [sys.executable, "-"],
    "node": ["node", "--input-type=module", "-"],
}


@pytest.fixture(scope="module")
def server(database: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(database, tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture
def manager(somebody):
    return somebody()


def test_each_example_of_a_sources_page_redeems_a_key_as_it_stands(
    server, place, sender, manager, settler, monkeypatch
):
    monkeypatch.setenv("KEYPOOL_PUBLIC_URL", server.url)
    settings.cache_clear()
    page = manager.get(f"/sources/{sender.source}").text
    monkeypatch.delenv("KEYPOOL_PUBLIC_URL")
    settings.cache_clear()
    here = {name for name, command in COMMANDS.items() if shutil.which(command[0])}

    outcomes = {}
    for name in here:
        [key] = place.keys()
        snippet = unescape(re.search(rf'id="snippet-{name}">(.*?)</code>', page, re.DOTALL)[1])
        done = subprocess.run(
            COMMANDS[name],
            input=snippet.replace("ann@example.com", f"{name}@example.com"),
            env=os.environ | {"KEYPOOL_SECRET": signatures.write_secret(sender.secret), "KEY": key},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        outcomes[name] = json.loads(done.stdout)["outcome"]

    assert f'id="address">{server.url}/webhooks/{sender.source}</code>' in page
    assert set(re.findall(r'data-copies="([\w-]+)"', page)) == {
        "address", "snippet-curl", "snippet-python", "snippet-node",
    }  # fmt: skip
    assert outcomes == dict.fromkeys(here, "redeemed")
    assert "python" in here


def test_a_test_is_sent_from_the_page_and_told(place, sender, manager, settler):
    sent = manager.post(f"/sources/{sender.source}/test", page=f"/sources/{sender.source}")
    page = manager.get(f"/sources/{sender.source}").text

    assert sent.status_code == 303
    assert re.search(r'class="told done" role="status">The test went the whole way', page)
    assert "recorded</span>" in page


def test_a_test_that_nobody_decides_says_what_to_look_at(place, sender, manager, monkeypatch):
    monkeypatch.setattr("webhook.http.inward.WAIT_SECONDS", 1)

    manager.post(f"/sources/{sender.source}/test", page=f"/sources/{sender.source}")
    page = unescape(manager.get(f"/sources/{sender.source}").text)

    assert re.search(r"recorded as event \d+, but not decided after 1 seconds: is a worker", page)


def test_the_latest_requests_are_listed_with_the_reason_or_only_the_refused_ones(
    place, sender, manager
):
    sender.post(redemption(), webhook_id="taken")
    sender.post(redemption(), webhook_id="forged", webhook_signature="v1,AAAA")

    page = manager.get(f"/sources/{sender.source}").text
    refused = manager.get(f"/sources/{sender.source}?refused=1").text

    assert re.search(r'href="/console/events/\d+">taken</a>', page)
    assert "none of the source&#39;s secrets" in page
    assert re.search(r"<title>\w{3} \d+ \w{3}: \d+ accepted, \d+ refused</title>", page)
    assert ">taken</a>" not in refused
    assert "signature wrong" in refused
    assert "forged" not in page


def test_a_sources_chart_shows_as_many_days_as_are_chosen(place, sender, manager):
    sender.post(redemption(), webhook_id="charted")

    shown = {days: manager.get(f"/sources/{sender.source}?days={days}").text for days in (7, 90)}

    bars = {days: page.count("<g data-words") for days, page in shown.items()}
    assert bars == {7: 7, 90: 90}
    assert "Requests a day, the last 90 days; the most:" in shown[90]
    assert f'/sources/{sender.source}?days=30#requests"' in shown[7]


def test_where_the_broker_is_away_the_page_says_so(place, sender, manager, monkeypatch):
    def away():
        raise ConnectionError

    monkeypatch.setattr(requests, "client", away)

    assert "latest requests cannot be read" in manager.get(f"/sources/{sender.source}").text


def test_an_events_page_has_its_outcome_its_timeline_links_and_for_managers_its_body(
    place, sender, somebody
):
    [key] = place.keys()
    endpoint = listening(place)
    event = sender.post(redemption(key, "page@example.com")).json["event"]
    settle()
    delivery = next(iter(delivered(endpoint)))

    page = somebody().get(f"/events/{event}").text
    analysts = somebody("analyst").get(f"/events/{event}").text

    assert "The key is redeemed." in page
    assert re.search(r"<li><span><time.*?</span> Received and recorded</li>", page)
    assert re.search(r"<li><span><time.*?</span> Decided: redeemed</li>", page)
    assert f'href="/console/sources/{sender.source}"' in page
    assert re.search(r'href="/console/assignments/\d+"', page)
    assert 'href="/console/learners/page@example.com"' in page
    assert f"&#34;key&#34;: &#34;{key}&#34;" in page
    assert re.search(
        rf'Told <a href="/console/deliveries/{delivery}">redemption.decided</a> to https://hooks\.example/page'
        r' <span class="state waiting">waiting</span></li>',
        page,
    )
    assert f'/console/events/{event}">' in somebody().get(f"/deliveries/{delivery}").text
    assert "hooks.example" not in analysts
    assert "The key is redeemed." in analysts
    assert key not in analysts
    assert f'href="/console/sources/{sender.source}"' not in analysts


def listening(place: Place) -> str:
    with databases.session() as session:
        given = {"url": "https://hooks.example/page", "types": ["redemption.decided"]}
        organization = str(place.world.parent)
        return endpoints.add(session, actor=OPERATOR, organization=organization, **given)["id"]


def delivered(endpoint: str) -> list[str]:
    with databases.session() as session:
        filters = deliveries.Filters(endpoint=endpoint)
        listed = deliveries.listing(session, actor=OPERATOR, filters=filters)
        return [one["id"] for one in listed.items]


def test_what_happened_at_one_moment_is_told_in_its_order():
    at = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
    event: Any = {
        "received_at": at,
        "settled_at": at,
        "outcome": "redeemed",
        "access_expires_at": None,
    }

    told = [one.what for one in pages._timeline(event)]

    assert told == ["Received and recorded", "Decided: redeemed"]
