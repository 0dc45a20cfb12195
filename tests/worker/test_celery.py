"""How Celery's connections fare when the network is cut: they notice, and come back soon."""

import socket

import kombu.exceptions
import pytest
from redis.connection import Connection

from worker import celery


def test_a_connection_to_the_broker_lets_go_of_one_that_is_gone_without_a_word():
    options = celery.transport(5)["socket_keepalive_options"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connection = Connection(port=port, socket_keepalive=True, socket_keepalive_options=options)

        with connection._connect() as line:
            asked = [
                line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_USER_TIMEOUT")
                if hasattr(socket, name)
            ]

    assert asked == [3, 1, 6000][: len(asked)]


def test_a_worker_that_waits_for_hints_soon_looks_whether_redis_answers():
    assert celery.transport(5)["health_check_interval"] == 3


def test_a_worker_never_pauses_for_long_before_it_connects_again(broker, monkeypatch):
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _: None)
    pauses: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"redis://127.0.0.1:{server.getsockname()[1]}"
    connection = celery.app.connection_for_read(nobody)

    with pytest.raises(kombu.exceptions.OperationalError):
        connection.ensure_connection(lambda _error, pause: pauses.append(pause), max_retries=20)

    assert len(pauses) == 20
    assert max(pauses) == celery.LONGEST_PAUSE
