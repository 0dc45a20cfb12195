"""The app on a real database, and a source that posts to it."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests.conftest import Addresses
from tests.webhook.checking import CheckedClient
from tests.webhook.weather import Line, line
from tests.world import OPERATOR, World, build
from webhook import create_app
from webhook.receiver import together
from worker import signatures
from worker.billing import invoices, payments, runs
from worker.bulk import bulk_acts, selecting
from worker.catalogue import prices
from worker.database import connections as databases
from worker.database.connections import Login
from worker.outgoing import endpoints
from worker.pools import batches, pools
from worker.redemption import inbox, settling, sources
from worker.reporting import claims, keeping, schedules
from worker.settings import settings
from worker.tables.tenancy import Logo
from worker.tenancy import organizations, passwords, sessions, signing_in, tokens, users
from worker.tenancy.actors import Actor, Role

APIFlask.test_client_class = CheckedClient

NOW = "2026-03-01T09:30:00Z"


@dataclass
class Sender:
    """An external system with its secret: signs and posts, well or badly as told."""

    client: FlaskClient
    path: str
    secret: bytes
    source: int

    def post(
        self,
        document: Any,
        *,
        webhook_id: str | None = None,
        raw: bytes | None = None,
        at: int | None = None,
        path: str | None = None,
        **headers: str | None,
    ) -> TestResponse:
        """Post a document; a header given as None is left out."""
        body = json.dumps(document).encode() if raw is None else raw
        name, moment = webhook_id or f"msg_{secrets.token_hex(8)}", at or int(time.time())
        told: dict[str, str | None] = {
            "webhook-id": name,
            "webhook-timestamp": str(moment),
            "webhook-signature": signatures.sign(self.secret, name, moment, body),
            "Content-Type": "application/json",
        }
        told |= {field.replace("_", "-"): value for field, value in headers.items()}
        given = {field: value for field, value in told.items() if value is not None}
        return self.client.post(path or self.path, data=body, headers=given)


@dataclass
class Place:
    """A committed world, the app on it, senders, and tokens by role."""

    world: World
    client: FlaskClient

    def sender(self, organization: int | None = None) -> Sender:
        """Add a source to an organization, the parent unless told otherwise."""
        owner = str(organization or self.world.parent)
        name = f"portal {secrets.token_hex(4)}"
        with databases.session() as session:
            made = sources.add(session, actor=OPERATOR, name=name, organization=owner)
        secret = signatures.read_secret(made["secret"])
        return Sender(self.client, made["url"], secret, int(made["id"]))

    def token(self, role: Role, organization: int | None = None) -> dict[str, str]:
        """Make a token and give the header that carries it."""
        with databases.session() as session:
            owner = None if role is Role.OPERATOR else str(organization or self.world.parent)
            made = tokens.add(
                session, actor=OPERATOR, name=f"{role} test", role=role, organization=owner
            )
        return {"Authorization": f"Bearer {made['token']}"}

    def keys(self, count: int = 1) -> list[str]:
        """Add keys to the world's pool."""
        with databases.session() as session:
            return World(session, *list(vars(self.world).values())[1:]).keys(count)


def redemption(key: str = "UNKNOWN-KEY-1", email: str = "ann@example.com", **data: Any) -> Any:
    """A redemption.requested message."""
    learner = {"email": email}
    return {
        "type": "redemption.requested",
        "timestamp": NOW,
        "data": {"key": key, "learner": learner, **data},
    }


def settle() -> None:
    """Let the worker settle what waits."""
    settling.settle_all()


@pytest.fixture
def settler() -> Iterator[None]:
    """Settle what comes in, as the worker does."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.1):
            settle()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.fixture
def own_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a notebook of one's own, which has the parameter `at_least`."""
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "at_least = 1"}
    made = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "mine.ipynb").write_text(json.dumps(made))
    monkeypatch.setenv("KEYPOOL_NOTEBOOKS", str(tmp_path))
    settings.cache_clear()
    yield "mine"
    settings.cache_clear()


@pytest.fixture(scope="module")
def to_broker(servers: Addresses) -> Iterator[Line]:
    """A line to the run's Redis."""
    url = make_url(servers.redis_url)
    target = url.database if "socket" in url.drivername else (url.host, url.port or 6379)
    with line(str(Path("/") / target) if isinstance(target, str) else target) as laid:
        yield laid


def over(laid: Line, redis_url: str) -> str:
    """The address of the Redis that a line leads to, over the line."""
    url = make_url(redis_url)
    database = str(url.query.get("virtual_host", "0"))
    near = {"host": "127.0.0.1", "port": laid.port, "database": database}
    url = url.set(drivername="redis", **near).set(query={})
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def client(database: Addresses) -> Iterator[FlaskClient]:
    """A client of the app, on the module's database."""
    app = create_app()
    with app.test_client() as made:
        yield made


@pytest.fixture(scope="module")
def place(database: Addresses, client: FlaskClient) -> Place:
    """A committed world that the module's tests share."""
    with databases.session() as session:
        return Place(build(session), client)


@pytest.fixture
def sender(place: Place) -> Sender:
    """A source of the test's own, which the receiver remembers; it knows none of `place.sender` at first."""
    made = place.sender()
    with databases.connection(Login.RECEIVER) as connection:
        door = inbox.open_door(connection, source_id=made.source)
    assert door
    together.remember(str(made.source), door)
    return made


@dataclass
class Things:
    """One of everything in the parent's organization, by the name it has in routes."""

    ids: dict[str, str]


def _paid_in_part(session: Session, organization: str) -> str:
    """Have an invoice of 10.00 that is paid in part; give the payment's id."""
    invoice = session.scalar(
        text("""INSERT INTO invoice (organization_id, month, currency, subtotal, total)
                SELECT id, '2019-01-01', 'EUR', 10, 10 FROM organization WHERE name = :name
                RETURNING id"""),
        {"name": organization},
    )
    final = invoices.finalize(session, actor=OPERATOR, invoice=str(invoice), anyway=True)
    paid = payments.pay(
        session, actor=OPERATOR, invoice=str(invoice), on=final["issued_on"], amount="1.00"
    )
    return paid["payments"][0]["id"]


def begun(session: Session, email: str, password: str) -> int:
    """Begin a session of a user; give the session's id."""
    attempt = signing_in.Attempt(email, "192.0.2.7", "")
    admission = signing_in.admit(session, attempt)
    known_hash = passwords.hashed_alike(password, admission.salt)
    cookie = signing_in.begin(
        session, attempt, admission, known_hash=known_hash, device="device", browser="Firefox/140"
    )
    signed = sessions.resume(session, str(cookie))
    assert signed is not None
    return signed.session_id


@pytest.fixture(scope="module")
def things(place: Place) -> Things:
    sender, [key] = place.sender(), place.keys()
    event = sender.post(redemption(key, "thing@example.com")).json["event"]
    settle()
    with databases.session() as session:
        launch = session.execute(
            text("""INSERT INTO launch (assignment_id, organization_id, launch, launched_at, outcome)
                    SELECT id, organization_id, 'L-0', clock_now(), 'assignment_expired' FROM assignment
                     WHERE id = (SELECT assignment_id FROM event WHERE event.id = :id)
                    RETURNING id"""),
            {"id": int(event)},
        ).scalar_one()
        assignment = session.execute(
            text("SELECT assignment_id FROM event WHERE id = :id"), {"id": int(event)}
        ).scalar_one()
        charge = session.execute(
            text("SELECT id FROM charge WHERE assignment_id = :id"), {"id": assignment}
        ).scalar_one()
        key_id = session.scalar(text("SELECT id FROM key WHERE code = :code"), {"code": key})
        batch = batches.generate(session, actor=OPERATOR, pool=place.world.pool, count=1)
        month = session.execute(text("SELECT to_char(clock_now(), 'YYYY-MM')")).scalar_one()
        names = session.execute(
            text("""SELECT organization.name, course.code FROM pool
                      JOIN organization ON organization.id = organization_id
                      JOIN course ON course.id = course_id WHERE pool.id = :id"""),
            {"id": int(place.world.pool)},
        ).one()
        kept = {
            notebook: keeping.ask(
                session, actor=OPERATOR, notebook=notebook, organization=names.name, format="pdf"
            )["id"]
            for notebook in ("usage", "billing")
        }
        regular = {
            notebook: schedules.schedule(
                session, actor=OPERATOR, notebook=notebook, organization=names.name, every="month"
            )["id"]
            for notebook in ("usage", "billing")
        }
        for report in kept.values():
            claim = claims.take(session, only=int(report))
            assert claim is not None
            page = (
                "<!doctype html><title>Kept</title>"
                '<a download="table.csv" href="data:text/csv;charset=utf-8;base64,YQo=">Save</a>'
            )
            claims.finish(session, claim=claim, page=page, pdf=b"%PDF-1.4")
        shared = pools.create(
            session, actor=OPERATOR, name="Shared", organization=names.name, course=names.code,
            starts="2020-01-01", expires="2090-12-31", content_availability=30,
            share_with_children=True,
        )["id"]  # fmt: skip
        logo = {"width": 1, "height": 1, "content": b"\x89PNG\r\n\x1a\n"}
        session.add(Logo(organization_id=place.world.parent, **logo))
        organizations.edit(session, actor=OPERATOR, organization=names.name, redeem_page="proof")
        endpoint = endpoints.add(
            session, actor=OPERATOR, url="https://hooks.example/x", organization=names.name
        )["id"]
        delivery = session.execute(
            text("INSERT INTO delivery (endpoint_id, type, data) VALUES (:id, 'pool.low', '{}')"
                 " RETURNING id"),
            {"id": int(endpoint)},
        ).scalar_one()  # fmt: skip
        session.execute(
            text("INSERT INTO reminder (organization_id, kind, looked_to)"
                 " VALUES (:id, 'trouble', clock_now())"),
            {"id": place.world.parent},
        )  # fmt: skip
        session.execute(
            text("INSERT INTO mail_template (organization_id, name, subject, body)"
                 " SELECT organization_id, 'Kept', 'Your key', '{{ keys }}' FROM pool WHERE id = :id"),
            {"id": int(place.world.pool)},
        )  # fmt: skip
        [message] = session.scalars(
            text("INSERT INTO message (organization_id, kind, recipient, data)"
                 " SELECT organization_id, 'keys', 'thing@example.com', '{}' FROM pool WHERE id = :id"
                 " RETURNING id"),
            {"id": int(place.world.pool)},
        )  # fmt: skip
        duplicate = session.execute(
            text("""INSERT INTO learner (organization_id, email, duplicate_of)
                    SELECT organization_id, email || '\u200b', id FROM learner
                     WHERE email = 'thing@example.com' RETURNING id""")
        ).scalar_one()
        owner = {"organization": names.name, "role": Role.ANALYST}
        user = users.add(
            session,
            actor=OPERATOR,
            email="user@example.com",
            new_hash=passwords.hashed("a user of things", about=""),
            **owner,
        )["id"]
        signed_in = begun(session, "user@example.com", "a user of things")
        price = prices.set_price(
            session, actor=OPERATOR, course=names.code, price="3", organization=names.name,
            from_="2080-01-01",
        )["id"]  # fmt: skip
        act = bulk_acts.ask(
            session,
            actor=Actor("test", Role.MANAGER, place.world.parent),
            act="extend",
            selection=selecting.Assignments((assignment,)),
            fields={"by_days": 1},
        )["id"]
    [invoice] = runs.run(actor=OPERATOR, month=month).invoices
    with databases.session() as session:
        line = invoices.show(session, actor=OPERATOR, invoice=str(invoice))["lines"][0]["id"]
        payment = _paid_in_part(session, names.name)
    token = place.client.get("/api/v1/tokens", headers=place.token(Role.MANAGER)).json["items"][0]
    return Things(
        {
            "event": event,
            "assignment": str(assignment),
            "launch": str(launch),
            "charge": str(charge),
            "invoice": str(invoice),
            "line": line,
            "payment": payment,
            "price": price,
            "act": act,
            "user": user,
            "session_id": str(signed_in),
            "pool": place.world.pool,
            "organization": names.name,
            "child": str(place.world.child),
            "shared": shared,
            "course": names.code,
            "source": str(sender.source),
            "token": token["id"],
            "email": "thing@example.com",
            "duplicate": str(duplicate),
            "code": key,
            "key_id": str(key_id),
            "batch": batch["id"],
            "endpoint": endpoint,
            "delivery": str(delivery),
            "message": str(message),
            "template": "Kept",
            "report": kept["usage"],
            "number": "1",  # of the report's table
            "report on billing": kept["billing"],
            "schedule": regular["usage"],
            "schedule on billing": regular["billing"],
        }
    )
