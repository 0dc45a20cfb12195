"""One caller's requests leave the others their share."""

import secrets
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from flask.testing import FlaskClient

from tests.webhook.conftest import Place, over, redemption
from webhook import create_app
from webhook.http import limits
from worker import celery
from worker.settings import settings
from worker.tenancy.actors import Role

POOLS = "/api/v1/pools"


@pytest.fixture
def limited(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FlaskClient]]:
    """Make the app anew, as another process would, with 3 requests a minute, 20 seconds into one."""
    clock = SimpleNamespace(time=lambda: 1_800_000_020.5, monotonic=time.monotonic)
    monkeypatch.setattr(limits, "time", clock)

    def make(**environment: str) -> FlaskClient:
        for name, value in {"KEYPOOL_REQUESTS_PER_MINUTE": "3", **environment}.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        return create_app().test_client()

    yield make
    monkeypatch.undo()
    settings.cache_clear()


def statuses(*clients: FlaskClient, headers: dict[str, str]) -> list[int]:
    return [client.get(POOLS, headers=headers).status_code for client in clients]


def test_a_token_that_asks_too_often_waits_and_is_told_how_long(place, limited):
    client, token = limited(), place.token(Role.MANAGER)

    first, *_, last = [client.get(POOLS, headers=token) for _ in range(4)]

    assert first.headers["RateLimit-Policy"] == '"caller";q=3;w=60'
    assert first.headers["RateLimit"] == '"caller";r=2;t=40'
    assert (last.status_code, last.mimetype) == (429, "application/problem+json")
    assert last.json["type"] == "/problems/too_many_requests"
    assert last.headers["Retry-After"] == "40"
    assert last.headers["RateLimit"] == '"caller";r=0;t=40'


def test_all_processes_count_together(place, limited):
    one, other, token = limited(), limited(), place.token(Role.MANAGER)

    assert statuses(one, other, one, other, headers=token) == [200, 200, 200, 429]


def test_a_process_asks_redis_once_for_a_hundredth_of_the_quota(place, limited):
    one, other = (limited(KEYPOOL_REQUESTS_PER_MINUTE="300") for _ in range(2))
    token = place.token(Role.MANAGER)

    clients = (one, other, one, one, one)
    told = [client.get(POOLS, headers=token).headers["RateLimit"] for client in clients]

    assert [left.partition(";t=")[0] for left in told] == [
        '"caller";r=299',
        '"caller";r=296',
        '"caller";r=298',
        '"caller";r=297',
        '"caller";r=293',
    ]


def test_each_token_has_its_own_share(place, limited):
    client, busy, calm = limited(), place.token(Role.MANAGER), place.token(Role.MANAGER)
    statuses(*[client] * 4, headers=busy)

    assert statuses(client, headers=calm) == [200]


def test_a_new_minute_is_a_new_share(place, limited, monkeypatch):
    client, token = limited(), place.token(Role.MANAGER)
    statuses(*[client] * 4, headers=token)

    monkeypatch.setattr(limits.time, "time", lambda: 1_800_000_060.0)
    first = client.get(POOLS, headers=token)

    assert (first.status_code, first.headers["RateLimit"]) == (200, '"caller";r=2;t=60')


def test_who_has_no_token_is_known_by_address(limited):
    client = limited()
    client.environ_base["REMOTE_ADDR"] = f"2001:db8::{secrets.token_hex(2)}"

    assert statuses(*[client] * 4, headers={}) == [401, 401, 401, 429]


def test_made_up_tokens_count_against_their_address(place, limited):
    client, good = limited(), place.token(Role.MANAGER)
    client.environ_base["REMOTE_ADDR"] = f"2001:db8::{secrets.token_hex(2)}"
    other = limited()
    made_up = [{"Authorization": f"Bearer kp_{secrets.token_hex(16)}"} for _ in range(5)]

    first = client.get(POOLS, headers=good).status_code
    tried = [client.get(POOLS, headers=headers).status_code for headers in made_up]

    assert tried == [401, 401, 401, 429, 429]
    assert (first, client.get(POOLS, headers=good).status_code) == (200, 200)
    assert other.get(POOLS, headers=made_up[4]).status_code == 401  # another address


def test_messages_to_the_receiver_are_not_counted(sender, limited):
    sender.client = limited()

    answers = [sender.post(redemption("UNCOUNTED-KEY")) for _ in range(5)]

    assert {answer.status_code for answer in answers} == {202}
    assert "RateLimit" not in answers[0].headers


def test_what_is_no_api_is_not_counted(limited):
    client = limited()

    assert [client.get("/healthz").status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize("weather", ["away", "frozen"])
def test_without_redis_each_process_counts_for_itself(place, limited, to_broker, weather):
    token = place.token(Role.MANAGER)
    client = limited(KEYPOOL_REDIS_URL=over(to_broker, celery.broker_url()))

    before = client.get(POOLS, headers=token).headers["RateLimit"]
    to_broker.cut() if weather == "away" else to_broker.freeze()
    alone = statuses(*[client] * 4, headers=token)
    to_broker.mend() if weather == "away" else to_broker.thaw()

    assert before == '"caller";r=2;t=40'
    assert alone == [200, 200, 200, 429]
