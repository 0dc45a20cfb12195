"""Who asks: the client's address, behind proxies that are trusted and others."""

import pytest
from flask import request

from worker.settings import settings


@pytest.mark.parametrize(
    ("trusted", "seen"), [("", "10.1.2.3"), ("10.0.0.0/8", "192.0.2.7"), ("172.16.0.1", "10.1.2.3")]
)
def test_a_forwarded_address_counts_where_its_proxy_is_trusted(place, monkeypatch, trusted, seen):
    app, seen_by = place.client.application, []
    monkeypatch.setenv("KEYPOOL_TRUSTED_PROXIES", trusted)
    networks = type(settings())(smtp_url=None).trusted_proxies
    monkeypatch.setattr(settings(), "__dict__", settings().__dict__ | {"trusted_proxies": networks})
    forwarded = {"X-Forwarded-For": "203.0.113.1, 192.0.2.7"}
    monkeypatch.setitem(
        app.before_request_funcs, None,
        [lambda: seen_by.append(request.remote_addr), *app.before_request_funcs[None]],
    )  # fmt: skip

    app.test_client().get("/healthz", headers=forwarded, environ_base={"REMOTE_ADDR": "10.1.2.3"})

    assert seen_by == [seen]
