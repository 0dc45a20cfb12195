"""The way to Redis, where it is encrypted: everybody who asks it looks at its certificate."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as AwayError

from tests import certificates
from tests.conftest import forget
from webhook.http import limits
from worker import broker as brokers
from worker import celery


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(b"".join(certificates.self_signed("localhost")))
    return path


@contextmanager
def encrypted(certificate, behind: str) -> Iterator[int]:
    """Take connections with TLS on a port, for the Redis behind a Unix socket."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(plain: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(plain, server_side=True) as line,
            socket.socket(socket.AF_UNIX) as redis,
        ):
            redis.connect(behind)
            threading.Thread(target=carry, args=(redis, line), daemon=True).start()
            carry(line, redis)

    def accept(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listening.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, args=[listening], daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def rediss(broker, fresh_database, certificate):
    """Give the address of the run's Redis behind TLS: its user and password, and a port."""
    parts = urlsplit(fresh_database.redis_url)
    with encrypted(certificate, parts.path) as port:
        yield lambda host: f"rediss://{parts.netloc.rpartition('@')[0]}@{host}:{port}/0"
    celery.app._after_fork()
    brokers.client.cache_clear()


def asked(monkeypatch, url: str) -> dict[str, Exception | None]:
    """Ask Redis in each of the ways in which keypool does; gives what went wrong."""
    monkeypatch.setenv("KEYPOOL_REDIS_URL", url)
    forget()
    celery.app.conf.broker_url = celery.broker_url()
    celery.app._after_fork()
    ways = {
        "hints": lambda: celery.app.connection_for_write().ensure_connection(max_retries=1),
        "marks": lambda: brokers.client().ping(),
        "limits": lambda: limits.Counter()._shared.incr("a", 60),
    }
    return {name: _failure(way) for name, way in ways.items()}


def _failure(way) -> Exception | None:
    try:
        way()
    except (OperationalError, AwayError) as error:
        return error
    return None


def test_a_certificate_that_nobody_vouches_for_is_refused_by_everybody(monkeypatch, rediss):
    told = asked(monkeypatch, rediss("localhost"))

    assert all("CERTIFICATE_VERIFY_FAILED" in str(error) for error in told.values()), told


def test_a_certificate_of_another_host_is_refused_by_everybody(monkeypatch, rediss, certificate):
    told = asked(monkeypatch, f"{rediss('127.0.0.1')}?ssl_ca_certs={certificate}")

    assert all("mismatch" in str(error) for error in told.values()), told


def test_a_certificate_of_an_authority_that_is_named_is_taken(monkeypatch, rediss, certificate):
    told = asked(monkeypatch, f"{rediss('localhost')}?ssl_ca_certs={certificate}")

    assert told == {"hints": None, "marks": None, "limits": None}
