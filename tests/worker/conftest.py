"""The broker of the worker's tests."""

import pytest
from redis import Redis

from worker import tasks
from worker.celery import PREFIX, app


@pytest.fixture
def broker(fresh_database):
    """The run's Redis, emptied of keypool's keys, with the tasks' connections pointing at it."""
    address = fresh_database.redis_url.replace("redis+socket://", "unix://")
    redis = Redis.from_url(address)
    app.conf.broker_url = fresh_database.redis_url
    app._after_fork()  # forget the connections to where it pointed before
    tasks._redis.cache_clear()
    tasks._asked_in_vain = -tasks.AWAY
    for key in redis.scan_iter(f"{PREFIX}*"):
        redis.delete(key)
    yield redis
    redis.close()
