"""What every answer says to browsers and caches, whatever it is an answer to."""

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from webhook.http import headers
from worker.settings import settings
from worker.tenancy.actors import Role

# Assets: they are everybody's, and browsers keep them.
KEPT = ("/console/static/", "/redeem/static/", "/redeem/colours/", "/docs")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def told(answer: Any) -> dict[str, str]:
    """Say what is wrong with an answer's headers."""
    path, has = answer.request.path, answer.headers
    policy = has.get("Content-Security-Policy", "")
    kept = path.startswith(KEPT) and answer.status_code < 400
    demands = {
        "nosniff": has.get("X-Content-Type-Options") == "nosniff",
        "loads nothing by default": policy.startswith("default-src 'none'"),
        "frame-ancestors": "frame-ancestors 'none'" in policy,
        "base-uri": "base-uri 'none'" in policy,
        "form-action": "form-action" in policy,
        "scripts": not re.search("unsafe-eval|script-src[^;]*unsafe-inline", policy),
        "referrer": has.get("Referrer-Policy") in ("no-referrer", "same-origin"),
        "no-store": kept or has.get("Cache-Control") == "no-store",
        "a type": not answer.data or "Content-Type" in has,
        "a charset": not (answer.mimetype or "").startswith("text/")
        or "charset=utf-8" in has["Content-Type"],
        "no other origin": "Access-Control-Allow-Origin" not in has,
    }
    return {what: f"{path}: {policy}" for what, holds in demands.items() if not holds}


def plain(app: Any) -> FlaskClient:
    """Give a client that compares nothing with the document, which has no HEAD, OPTIONS or TRACE."""
    return FlaskClient(app, app.response_class)


def test_every_route_answers_every_method_with_strict_headers(client):
    app = client.application
    paths = {re.sub("<[^>]+>", "1", rule.rule) for rule in app.url_map.iter_rules()}
    asking = plain(app)

    wrong = {
        f"{method} {path}": faults
        for path in sorted(paths)
        for method in METHODS
        if (faults := told(asking.open(path, method=method)))
    }

    assert len(paths) > 200
    assert wrong == {}


def test_a_refusal_of_every_kind_has_strict_headers(place, monkeypatch):
    operator = place.token(Role.OPERATOR)
    client, pools = plain(place.client.application), "/api/v1/pools"
    ask = {"headers": operator}
    made = client.get(pools, **ask)
    monkeypatch.setitem(client.application.view_functions, "docs.page", lambda: 1 / 0)
    answers = [
        made,
        client.get("/"),
        client.get(pools, headers=operator | {"If-None-Match": made.headers["ETag"]}),
        client.post(pools, data=b"{", content_type="application/json", **ask),
        client.get(pools),
        client.get("/nothing"),
        client.get("/console/static/nothing.css"),
        client.delete(pools, **ask),
        client.post(pools, data=b"x" * (1 << 21), content_type="application/json", **ask),
        client.post(f"{pools}/1/keys", data=b"<a/>", content_type="application/xml", **ask),
        client.get(f"{pools}?colour=blue", **ask),
        client.get("/docs"),
    ]

    assert [a.status_code for a in answers] == [
        200, 303, 304, 400, 401, 404, 404, 405, 413, 415, 422, 500,
    ]  # fmt: skip
    assert [faults for answer in answers if (faults := told(answer))] == []


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/pools", "/console/sign-in", "/redeem", "/nothing", "/healthz"]
)
def test_over_https_every_answer_demands_https_for_a_year_and_of_subdomains(
    client, monkeypatch, path
):
    public = settings().__dict__ | {"public_url": "https://keys.example.com"}
    monkeypatch.setattr(settings(), "__dict__", public)

    assert client.get(path).headers["Strict-Transport-Security"] == (
        f"max-age={headers.YEAR}; includeSubDomains"
    )


@pytest.mark.parametrize("path", ["/console/static/", "/docs/static/"])
def test_no_folder_is_listed(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/.git/config", "/.env", "/console/static/../frame.py"])
def test_nothing_but_routes_and_assets_is_served(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/v1/pools", "/console/sign-in"])
def test_a_trace_is_refused(client, path):
    answer = plain(client.application).open(
        path, method="TRACE", headers={"X-Secret": "told back?"}
    )

    assert answer.status_code == 405
    assert "told back?" not in answer.text
